"""Every format decodes to the same upright pixels, and nothing else is opened."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.bars import FPS, FRAMES, HEIGHT, WIDTH, bar, bar_places, read_frames, write_video
from still_moving.common.errors import UserError
from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile

VIDEO_KINDS = [
    ("mp4", "libx264", "yuv420p"),
    ("mov", "mpeg4", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("mkv", "libx264", "yuv420p"),
]


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
    frames = read_frames(path, ClipOptions(frames=FRAMES))
    assert frames.shape == (FRAMES, 3, HEIGHT, WIDTH)
    assert bar_places(frames) == list(range(FRAMES))


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_animated_pictures_decode_with_their_times(tmp_path, ending):
    path = tmp_path / f"clip.{ending}"
    pictures = [Image.fromarray(bar(i)) for i in range(FRAMES)]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": 40}
    if ending == "webp":
        options["lossless"] = True
    pictures[0].save(path, **options)
    probe = media.probe(MediaFile(path))
    assert probe.moving
    assert probe.fps == pytest.approx(FPS)
    frames = read_frames(path, ClipOptions(frames=FRAMES))
    assert torch.equal(
        frames, torch.stack([torch.tensor(bar(i)).movedim(-1, 0) for i in range(10)])
    )


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
    frame = read_frames(path, ClipOptions(1))[0].float()
    assert frame.shape == (3, WIDTH, HEIGHT)
    # Left goes to the top.
    assert frame[:, : WIDTH // 2 - 2].mean() > 240
    assert frame[:, WIDTH // 2 + 2 :].mean() < 15


def still(path, image, **more):
    image.save(path, **more)
    return read_frames(path)


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
    path.write_text(text.format("real.mkv"), encoding="utf-8")
    with pytest.raises(UserError, match=r"list\.mp4.*unreadable"):
        media.probe(MediaFile(path))


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (12000, 12000)).save(path)
    with pytest.raises(UserError, match=r"bomb\.png.*megapixels"):
        media.probe(MediaFile(path))
