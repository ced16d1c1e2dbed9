"""Every format decodes to the same upright pixels, and the asked frames are the ones taken."""

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from still_moving.common.errors import UserError
from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile, choose_frames, fit

WIDTH, HEIGHT, FRAMES, FPS = 32, 16, 10, 25
VIDEO_KINDS = [
    ("mp4", "libx264", "yuv420p"),
    ("mov", "mpeg4", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("mkv", "libx264", "yuv420p"),
]


def bar(index):
    """A white bar that moves three pixels to the right per frame."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, 3 * index : 3 * index + 3] = 255
    return picture


def bar_places(frames):
    return [int(frame.float().mean(dim=(0, 1)).argmax()) // 3 for frame in frames]


def write_video(path, codec, pixels, pictures, fps=FPS):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(("ending", "codec", "pixels"), VIDEO_KINDS)
def test_videos_decode_with_their_times(tmp_path, ending, codec, pixels):
    path = tmp_path / f"clip.{ending}"
    write_video(path, codec, pixels, [bar(i) for i in range(FRAMES)])
    file = MediaFile(path)
    probe = media.probe(file)
    assert (probe.width, probe.height, len(probe.times)) == (WIDTH, HEIGHT, FRAMES)
    assert probe.moving
    assert probe.fps == pytest.approx(FPS, rel=0.01)
    assert probe.duration == pytest.approx(FRAMES / FPS, rel=0.01)
    frames = media.read_frames(file, ClipOptions(frames=FRAMES))
    assert frames.shape == (FRAMES, 3, HEIGHT, WIDTH)
    assert bar_places(frames) == list(range(FRAMES))


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_animated_pictures_decode_with_their_times(tmp_path, ending):
    path = tmp_path / f"clip.{ending}"
    pictures = [Image.fromarray(bar(i)) for i in range(FRAMES)]
    more = {"lossless": True} if ending == "webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, **more)
    probe = media.probe(MediaFile(path))
    assert probe.moving
    assert probe.fps == pytest.approx(FPS)
    frames = media.read_frames(MediaFile(path), ClipOptions(frames=FRAMES))
    assert torch.equal(
        frames, torch.stack([torch.tensor(bar(i)).movedim(-1, 0) for i in range(10)])
    )


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
    assert bar_places(media.read_frames(MediaFile(path), clip)) == places


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


def test_a_phone_video_is_turned_upright(tmp_path):
    path = tmp_path / "phone.mp4"
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = 255
    write_video(path, "libx264", "yuv420p", [picture] * 3)
    # The display matrix of a quarter turn clockwise, in the track header where phones put it.
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    cells = [0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30]
    data[start : start + 36] = b"".join(cell.to_bytes(4, "big", signed=True) for cell in cells)
    path.write_bytes(data)
    probe = media.probe(MediaFile(path))
    assert (probe.width, probe.height) == (HEIGHT, WIDTH)
    frame = media.read_frames(MediaFile(path), ClipOptions(1))[0].float()
    assert frame.shape == (3, WIDTH, HEIGHT)
    # Left goes to the top.
    assert frame[:, : WIDTH // 2 - 2].mean() > 240
    assert frame[:, WIDTH // 2 + 2 :].mean() < 15


def still(path, image, **more):
    image.save(path, **more)
    return media.read_frames(MediaFile(path), ClipOptions())


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    picture = Image.new("RGB", (40, 20))
    picture.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned clockwise
    frames = still(tmp_path / "a.jpg", picture, exif=exif, quality=95)
    assert frames.shape == (1, 3, 40, 20)
    assert frames[:, :, :18].float().mean() > 240


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ending", ["png", "webp", "gif"])
def test_transparency_becomes_white(tmp_path, mode, ending):
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 4, 8))
    more = {"lossless": True} if ending == "webp" else {}
    if mode == "P":
        picture = Image.new("P", (8, 8), 1)
        picture.putpalette([0, 0, 0, 200, 0, 0])
        picture.paste(0, (0, 0, 4, 8))
        picture.info["transparency"] = 1
    elif mode == "LA" and ending != "gif":
        picture = picture.convert("LA")
    frames = still(tmp_path / f"a.{ending}", picture, **more)
    assert frames.shape == (1, 3, 8, 8)
    assert (frames[..., :4] == 0).all()
    assert (frames[..., 4:] == 255).all()


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    tones = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    frames = still(tmp_path / "a.png", Image.fromarray(tones))
    assert torch.equal(frames[0, 0], torch.from_numpy((tones / 257).round().astype(np.uint8)))


def test_cmyk_and_grey_become_rgb(tmp_path):
    red = Image.new("RGB", (16, 16), (250, 10, 10))
    frames = still(tmp_path / "a.jpg", red.convert("CMYK"), quality=95)
    assert (frames[0].float().mean(dim=(1, 2)) - torch.tensor([250.0, 10, 10])).abs().max() < 8
    for name, mode in (("b.png", "1"), ("c.png", "L"), ("d.jpg", "L")):
        frames = still(tmp_path / name, Image.new("L", (16, 16), 255).convert(mode))
        assert (frames == 255).all()


def test_a_picture_with_a_second_one_inside_is_a_still(tmp_path):
    path = tmp_path / "phone.jpg"
    picture = Image.new("RGB", (16, 16), "red")
    picture.save(path, format="MPO", save_all=True, append_images=[picture.rotate(90)])
    assert not media.probe(MediaFile(path)).moving


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        "just words\n" * 50,
    ],
)
def test_a_playlist_under_a_clips_name_opens_nothing(tmp_path, text):
    write_video(tmp_path / "real.mkv", "libx264", "yuv420p", [bar(i) for i in range(FRAMES)])
    path = tmp_path / "list.mp4"
    path.write_text(text.format("real.mkv"))
    with pytest.raises(UserError, match=r"list\.mp4.*unreadable"):
        media.probe(MediaFile(path))


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (12000, 12000)).save(path)
    with pytest.raises(UserError, match=r"bomb\.png.*megapixels"):
        media.probe(MediaFile(path))


def test_a_short_clip_says_what_to_lower(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, "libx264", "yuv420p", [bar(i) for i in range(FRAMES)])
    with pytest.raises(UserError, match=r"found 5 frames.*at least 6.*stride \(2\)"):
        media.read_frames(MediaFile(path), ClipOptions(6, stride=2))


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


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"stride": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"start": "end"}]
)
def test_clip_options_refuse_what_they_cannot_do(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        ClipOptions(**wrong)
