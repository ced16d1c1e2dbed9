"""The chosen frames are the ones taken, at one size; folders and captions read as people mean."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers.bars import FRAMES, bar, bar_places, read_frames, write_video
from still_moving.common.errors import UserError
from still_moving.training.sets import media, progress
from still_moving.training.sets.media import ClipOptions, MediaFile, choose_frames, fit


@pytest.mark.parametrize(
    ("clip", "places"),
    [
        (ClipOptions(4, start="first"), [0, 1, 2, 3]),
        (ClipOptions(4), [3, 4, 5, 6]),
        (ClipOptions(4, stride=2, start="first"), [0, 2, 4, 6]),
        (ClipOptions(5, fps=12.5), [0, 2, 4, 6, 8]),
        (ClipOptions(2, fps=12.5, stride=3, start="first"), [0, 6]),
        (ClipOptions(1), [4]),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_fps_stride_and_start_choose_the_frames(tmp_path, ending, clip, places):
    path = tmp_path / f"clip.{ending}"
    write_video(path, "libx264", "yuv420p", [bar(i) for i in range(FRAMES)])
    assert bar_places(read_frames(path, clip)) == places


@given(
    gaps=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=60),
    fps=st.none() | st.floats(1, 120),
    stride=st.integers(1, 4),
    start=st.sampled_from(media.STARTS),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_every_frame_promised_can_be_taken(gaps, fps, stride, start, data):
    times = tuple(np.cumsum([0.0, *gaps]).tolist())
    count = media.available(times, ClipOptions(1, fps, stride))
    frames = data.draw(st.integers(1, count))
    picks = choose_frames(times, ClipOptions(frames, fps, stride, start, seed=5))
    assert len(picks) == frames
    assert picks == sorted(picks)
    assert 0 <= picks[0] <= picks[-1] < len(times)
    with pytest.raises(ValueError, match="frames"):
        choose_frames(times, ClipOptions(count + 1, fps, stride, start))


@given(st.integers(2, 200), st.sampled_from([8, 12, 24, 25, 30, 60]))
@settings(max_examples=100, deadline=None)
def test_times_rounded_to_milliseconds_lose_no_frame(count, fps):
    times = tuple(round(index / fps, 3) for index in range(count))
    clip = ClipOptions(count, fps=fps, start="first")
    assert choose_frames(times, clip) == list(range(count))


def test_random_starts_differ_by_seed_and_repeat():
    times = tuple(index / 25 for index in range(100))
    firsts = [
        choose_frames(times, ClipOptions(4, start="random", seed=seed))[0] for seed in range(20)
    ]
    assert firsts == [
        choose_frames(times, ClipOptions(4, start="random", seed=seed))[0] for seed in range(20)
    ]
    assert len(set(firsts)) > 5


def test_a_short_clip_says_what_to_lower(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, "libx264", "yuv420p", [bar(i) for i in range(FRAMES)])
    with pytest.raises(UserError, match=r"found 5 frames.*at least 6.*stride \(2\)"):
        read_frames(path, ClipOptions(6, stride=2))


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.sampled_from(["centre", "random"]),
    st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None)
def test_fit_gives_the_size_in_range_and_repeats(source, target, crop, seed):
    size = target[0] * 8, target[1] * 8
    frames = torch.randint(0, 256, (2, 3, *source), dtype=torch.uint8)
    fitted = fit(frames, size, crop, seed)
    assert fitted.shape == (2, 3, size[1], size[0])
    assert fitted.min() >= 0
    assert fitted.max() <= 1
    assert torch.equal(fitted, fit(frames, size, crop, seed))
    # A frame's crop does not depend on its neighbours.
    assert torch.equal(fitted[1:], fit(frames[1:], size, crop, seed))


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from(["centre", "random"]))
@settings(max_examples=50, deadline=None)
def test_fit_leaves_a_picture_of_the_right_size_alone(width, height, crop):
    frames = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    assert torch.equal(fit(frames, (width, height), crop, 3), frames.float() / 255)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (334, 252), (1200, 900)])
def test_fit_can_be_stopped_between_channels_and_keeps_every_bit(monkeypatch, width, height):
    monkeypatch.setattr(progress, "_BETWEEN_S", 0.0)
    frames, told = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8), []
    pulse = progress.Pulse(lambda *_: told.append(1))
    fitted = fit(frames, (width // 2, height // 2), pulse=pulse)
    size = (height // 2, width // 2)
    whole = F.interpolate(frames.float() / 255, size, mode="bicubic", antialias=True).clamp(0, 1)
    assert torch.equal(fitted, whole)
    assert len(told) == 6


def test_fit_keeps_the_middle_and_the_proportions():
    frames = torch.zeros(1, 3, 64, 192, dtype=torch.uint8)
    frames[..., 64:128] = 255
    assert fit(frames, (32, 32))[..., 2:-2].min() > 0.95
    assert fit(frames, (192, 64)).mean() == pytest.approx(1 / 3)
    thin = torch.full((1, 3, 1, 60000), 9, dtype=torch.uint8)
    assert torch.allclose(fit(thin, (16, 16)), torch.tensor(9 / 255), atol=1e-5)


def test_scan_sorts_like_a_person_and_reads_only_media(tmp_path):
    for name in ("b10.png", "b2.PNG", "b1.jpg", "notes.txt", ".hidden.png", "c.webm"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in media.scan(tmp_path)] == ["b1.jpg", "b2.PNG", "b10.png", "c.webm"]


def test_links_that_lead_nowhere_are_said(tmp_path):
    for name, target in (("a.png", "gone.png"), ("b.png", "c.txt"), ("c.txt", "b.png")):
        try:
            (tmp_path / name).symlink_to(tmp_path / target)
        except OSError as error:
            pytest.skip(f"no links here: {error}")
    with pytest.raises(UserError, match=r"no photo or clip, but .* nowhere \(a\.png, b\.png, c\."):
        media.look(tmp_path)
    (tmp_path / "real.png").touch()
    (tmp_path / "d.png").symlink_to(tmp_path / "real.png")
    seen = media.look(tmp_path)
    assert [file.name for file in seen.files] == ["d.png", "real.png"]
    assert seen.notes == ("links that lead nowhere: a.png, b.png, c.txt",)


def test_a_missing_empty_or_wrong_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        media.scan(tmp_path / "none")
    with pytest.raises(UserError, match="no photo or clip"):
        media.scan(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="found a file"):
        media.scan(tmp_path / "file")


def test_captions_are_utf8_stripped_and_may_be_missing(tmp_path):
    file = MediaFile(tmp_path / "a b.png")
    assert media.read_caption(file) is None
    for data, caption in (
        (b"\xef\xbb\xbf red dog \r\n", "red dog"),
        ("犬 là".encode(), "犬 là"),
        (b" \n", None),
        (b"", None),
    ):
        file.caption_path.write_bytes(data)
        assert media.read_caption(file) == caption
    for data in (b"\xff\xfer\x00", b"a\0b", b"x" * 70000):
        file.caption_path.write_bytes(data)
        with pytest.raises(UserError, match=r"a b\.txt"):
            media.read_caption(file)


@pytest.mark.parametrize("picture", ["Dog é.png", "dog e\u0301.PNG"])
@pytest.mark.parametrize("text", ["dog é.txt", "DOG E\u0301.TXT"])
def test_a_caption_is_found_however_a_system_spells_its_name(tmp_path, picture, text):
    (tmp_path / picture).touch()
    (tmp_path / text).write_text("a dog", encoding="utf-8")
    (tmp_path / "dog.txt").write_text("another", encoding="utf-8")
    assert [media.read_caption(file) for file in media.scan(tmp_path)] == ["a dog"]


def test_a_caption_of_the_very_name_is_first(tmp_path):
    for stem in ("dog", "Dog", "DOG"):  # one file on Windows
        (tmp_path / f"{stem}.txt").write_text(
            "a dog" if os.name == "nt" else stem, encoding="utf-8"
        )
    (tmp_path / "Dog.png").touch()
    (tmp_path / "cat.png").touch()
    captions = [media.read_caption(file) for file in media.scan(tmp_path)]
    assert captions == [None, "a dog" if os.name == "nt" else "Dog"]


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"stride": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"start": "end"}]
)
def test_clip_options_refuse_what_they_cannot_do(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        ClipOptions(**wrong)
