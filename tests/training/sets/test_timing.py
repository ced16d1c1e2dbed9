"""What is on the screen at a moment is taken for it; the last frame stays as long as said."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.bars import bar, bar_places, read_frames, write_video
from helpers.showing import notes_of, write
from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile, available, choose_frames
from still_moving.training.sets.probe import Probe
from still_moving.training.sets.timing import chosen_otherwise, in_order


def animation(path, durations, ending):
    first, *rest = [Image.fromarray(bar(index)) for index in range(len(durations))]
    options: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, **options)
    return path


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif"])
def test_a_frame_that_stays_is_taken_until_it_goes(tmp_path, ending):
    if ending == "avif" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow cannot write it")
    path = animation(tmp_path / f"a.{ending}", [500, 100, 1000], ending)
    probe = media.probe(MediaFile(path))
    assert probe.duration == pytest.approx(1.6)
    assert probe.fps == pytest.approx(3 / 1.6)
    clip = ClipOptions(16, fps=10, start="first")
    assert bar_places(read_frames(path, clip)) == [0] * 5 + [1] + [2] * 10


def test_video_frames_that_stay_and_the_last_ones_stay(tmp_path):
    path = tmp_path / "a.mkv"
    times = [0, 0.12, 0.2, 1.2, 1.32]
    write(path, [bar(index) for index in range(5)], "ffv1", "bgr0", times=times)
    probe = media.probe(MediaFile(path))
    assert probe.times == pytest.approx(times)
    clip = ClipOptions(13, fps=10, start="first")
    assert bar_places(read_frames(path, clip)) == [0, 1, *[2] * 10, 3]


@pytest.mark.parametrize(("said", "shown"), [(0, 0.1), (10, 0.1), (20, 0.02), (70, 0.07)])
def test_too_short_a_delay_is_shown_as_browsers_show_it(tmp_path, said, shown):
    path = animation(tmp_path / "a.gif", [said] * 4, "gif")
    assert media.probe(MediaFile(path)).duration == pytest.approx(4 * shown)


@pytest.mark.parametrize(
    ("ending", "codec"), [("avi", "mpeg4"), ("mpg", "mpeg2video"), ("mp4", "libx264")]
)
def test_frames_that_are_coded_out_of_order_come_in_theirs(tmp_path, ending, codec):
    path = tmp_path / f"a.{ending}"
    pictures = [bar(index) for index in range(10)]
    write(path, [np.repeat(p, 3, axis=0) for p in pictures], codec, "yuv420p", options={"bf": "2"})
    probe = media.probe(MediaFile(path))
    assert np.diff(probe.times) == pytest.approx([0.04] * 9, abs=2e-3)
    assert bar_places(read_frames(path, ClipOptions(10))) == list(range(10))


def test_a_clip_that_starts_late_or_early_starts_at_its_first_frame(tmp_path):
    for name, start in (("late", 3.0), ("early", -0.4)):
        path = tmp_path / f"{name}.mkv"
        times = [start + index / 10 for index in range(10)]
        write(path, [bar(index) for index in range(10)], "ffv1", "bgr0", times=times)
        assert bar_places(read_frames(path, ClipOptions(5, fps=5, start="first"))) == [
            0,
            2,
            4,
            6,
            8,
        ]


@pytest.mark.parametrize("rate", [8, 12, 23.976, 24, 25, 29.97, 30, 50, 60])
@pytest.mark.parametrize("asked", [None, 4, 8, 12, 16])
@pytest.mark.parametrize("start", ["first", "centre", "random"])
def test_ordinary_clips_are_cut_as_before(rate, asked, start):
    """So sets that are cached are found again: what older versions chose is written out here."""
    if asked and asked > rate:
        pytest.skip("those repeat")
    for count in (40, 97, 200):
        times = tuple(round(index / rate, 3) for index in range(count))
        probe = Probe(8, 8, times, True, last=round(1 / rate, 3))
        frames = min(8, available(times, ClipOptions(1, asked)))
        clip = ClipOptions(frames, asked, start=start, seed=3)
        assert choose_frames(times, clip, probe.last) == choose_frames(times, clip)
        assert not chosen_otherwise(probe, clip)


def test_a_file_that_is_cut_otherwise_has_another_key():
    slow = Probe(8, 8, (0.0, 1.0, 2.0), True, last=1.0)
    assert chosen_otherwise(slow, ClipOptions(16, fps=8, start="first"))
    assert chosen_otherwise(slow, ClipOptions(24, fps=8, start="first"))  # too few before
    assert not chosen_otherwise(slow, ClipOptions(3))


def test_a_videos_last_frame_counts(tmp_path):
    path = tmp_path / "slow.mp4"
    write_video(path, "libx264", "yuv420p", [bar(index) for index in range(3)], fps=1)
    assert media.probe(MediaFile(path)).duration == pytest.approx(3)
    clip = ClipOptions(12, fps=4, start="first")
    assert bar_places(read_frames(path, clip)) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("ending", "codec"), [("ts", "mpeg2video"), ("mpg", "mpeg2video"), ("vob", "mpeg2video")]
)
def test_joined_recordings_go_on(tmp_path, ending, codec):
    """As cameras' parts are put together: by joining the files."""
    pictures, parts = [bar(index) for index in range(10)], b""
    for part in (pictures[:5], pictures[5:]):
        path = tmp_path / f"a.{ending}"
        write(path, [np.repeat(p, 3, axis=0) for p in part], codec, "yuv420p", rate=10)
        parts += path.read_bytes()
    path.write_bytes(parts)
    probe = media.probe(MediaFile(path))
    assert np.diff(probe.times) == pytest.approx([0.1] * 9, abs=0.03)
    clip = ClipOptions(10, fps=10, start="first")
    assert bar_places(read_frames(path, clip)) == list(range(10))
    assert "goes on" in probe.changes
    assert "1 file whose times start again or stand still" in notes_of(tmp_path)


def test_times_that_stand_still_go_on(tmp_path):
    write(tmp_path / "a.mkv", [bar(i) for i in range(5)], "ffv1", "bgr0", rate=25, times=[0] * 5)
    assert media.probe(MediaFile(tmp_path / "a.mkv")).times == pytest.approx(
        [index / 25 for index in range(5)]
    )
    assert in_order([0, 0, 0.1, 0.1, 0.2], 0.05)[0] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ([0.0, 0.04, 0.08], [0.0, 0.04, 0.08]),
        ([0.0, 0.12, 0.04, 0.08, 0.16], [0.0, 0.12, 0.121, 0.122, 0.16]),  # out of order
        ([None, None, None], [0.0, 0.04, 0.08]),
        ([3.0, None, 3.5], [3.0, 3.04, 3.5]),
    ],
)
def test_other_times_are_as_before(said, times):
    assert in_order(said, 0.04) == (times, False)
