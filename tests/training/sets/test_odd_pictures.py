"""Pictures with rare contents come out as they were meant, or it is said."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from helpers.bars import read_frames
from helpers.heic import box, coded, heic
from helpers.profiles import grey_profile
from helpers.showing import CORNERS, corner_colours, corners, notes_of
from still_moving.common.errors import UserError
from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile


def changes_of(path):
    return media.probe(MediaFile(path)).changes


def unwritten_bmp(path):
    """BMP version 4 with an alpha mask, as some programs write it: a byte that is 0."""
    picture = np.dstack([corners()[::-1, :, ::-1], np.zeros((32, 48), np.uint8)])
    head = struct.pack("<IiiHHIIiiII", 108, 48, 32, 1, 32, 3, picture.size, 2835, 2835, 0, 0)
    head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    start = struct.pack("<IHHI", 14 + len(head) + picture.size, 0, 0, 14 + len(head))
    path.write_bytes(b"BM" + start + head + picture.tobytes())


@pytest.mark.parametrize("name", ["a.tga", "a.bmp", "a.png", "a.webp"])
def test_an_alpha_that_nobody_wrote_is_none(tmp_path, name):
    path = tmp_path / name
    clear = Image.fromarray(np.dstack([corners(), np.zeros((32, 48), np.uint8)]), "RGBA")
    if name == "a.bmp":
        unwritten_bmp(path)
    else:
        options: dict[str, Any] = {"lossless": True, "exact": True} if name == "a.webp" else {}
        clear.save(path, **options)
    assert np.abs(corner_colours(read_frames(path)[0]) - CORNERS).max() < 3
    assert f"1 file transparent all over, read without that: {name}" in notes_of(tmp_path)
    assert "without its alpha" in changes_of(path)


def test_an_animation_that_is_clear_in_part_stays_so(tmp_path):
    path = tmp_path / "a.webp"
    frames = [Image.new("RGBA", (16, 16), (90, index, 90, 0)) for index in range(3)]
    options: dict[str, Any] = {"save_all": True, "duration": 100, "lossless": True, "exact": True}
    frames[0].save(path, append_images=frames[1:], **options)
    assert "without its alpha" in changes_of(path)
    assert read_frames(path, ClipOptions(3))[0].float().mean() < 100
    frames[2].putalpha(255)
    frames[0].save(path, append_images=frames[1:], **options)
    assert changes_of(path) == ()
    assert read_frames(path, ClipOptions(3))[0].float().mean() == 255


def test_a_png_with_megabytes_of_text_is_a_picture(tmp_path, monkeypatch):
    """As ComfyUI writes a large workflow; what another pack tells Pillow does not count either."""
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "node " * 500_000, zip=True)
    Image.fromarray(corners()).save(tmp_path / "a.png", pnginfo=text)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1000)
    assert np.abs(corner_colours(read_frames(tmp_path / "a.png")[0]) - CORNERS).max() < 3
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1000
    assert changes_of(tmp_path / "a.png") == ()


def grey_tiff(path, bits, meaning, data, signed=1):
    """TIFF 6.0, one strip of 8 x 8: Pillow writes no 12 bits, and no 16 whose white is 0."""
    tags = [(256, 8), (257, 8), (258, bits), (259, 1), (262, meaning), (273, 8), (277, 1)]
    tags += [(278, 8), (279, len(data)), (339, signed)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    ifd = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd)
    return path


def test_deep_grey_of_tiffs_is_as_bright_as_it_says(tmp_path):
    halves = bytes((0x80, 0x08, 0x00)) * 32  # 2048 of 4095, two in three bytes
    twelve = grey_tiff(tmp_path / "twelve.tif", 12, 1, halves)
    light = np.full((8, 8), 6000, "<u2").tobytes()
    inverted = grey_tiff(tmp_path / "inverted.tif", 16, 0, light)
    plain = grey_tiff(tmp_path / "plain.tif", 16, 1, light)
    seen = [int(read_frames(path)[0].max()) for path in (twelve, inverted, plain)]
    assert seen == [round(2048 / 4095 * 255), round(255 - 6000 / 257), round(6000 / 257)]
    assert [changes_of(path) for path in (twelve, inverted, plain)] == [
        ("12 bits",),
        ("white is 0",),
        (),
    ]


@pytest.mark.parametrize("kind", ["<i4", "<i2"])
def test_whole_numbers_without_a_white_are_refused_by_name(tmp_path, kind):
    values = np.linspace(-5 if kind == "<i2" else 0, np.iinfo(kind).max, 64).astype(kind)
    grey_tiff(tmp_path / "a.tif", 8 * values.itemsize, 1, values.tobytes(), signed=2)
    with pytest.raises(UserError, match=r"a\.tif.*whole numbers outside of 0 to 65535"):
        read_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("profile", ["junk", "lab", "grey"])
def test_a_heic_whose_profile_cannot_be_used_is_read_without(tmp_path, profile):
    data = {
        "junk": b"no profile" * 20,
        "lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "grey": grey_profile(1.0),
    }[profile]
    colr = box("colr", b"prof", data)
    (tmp_path / "a.heic").write_bytes(heic([coded(corners(64, 96))], 1, (96, 64), [colr]))
    assert np.abs(corner_colours(read_frames(tmp_path / "a.heic")[0]) - CORNERS).max() < 12
    assert "1 file whose colour profile cannot be used: a.heic" in notes_of(tmp_path)


def test_a_profile_for_grey_counts_in_a_grey_heic(tmp_path):
    colr, grey = box("colr", b"prof", grey_profile(1.0)), np.full((64, 64, 3), 55, np.uint8)
    (tmp_path / "a.heic").write_bytes(heic([coded(grey)], 1, (64, 64), [colr]))
    Image.new("L", (64, 64), 55).save(tmp_path / "b.png", icc_profile=grey_profile(1.0))
    heic_tone, png_tone = (int(read_frames(tmp_path / n)[0].max()) for n in ("a.heic", "b.png"))
    assert png_tone > 100  # of linear light
    assert abs(heic_tone - png_tone) < 4
    assert "2 files with another colour profile, converted to sRGB" in notes_of(tmp_path)


def with_chunk(path, kind, body):
    """A PNG with a chunk more, before its pixels."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])  # behind IHDR
    return path


@pytest.mark.parametrize(
    ("cicp", "colour", "shown"),
    [
        ((9, 16, 0, 1), (148, 148, 148), (232, 232, 232)),  # PQ: 58 % is reference white
        ((12, 13, 0, 1), (200, 100, 50), (216, 93, 31)),  # CSS Color 4, section 10
        ((1, 13, 0, 1), (200, 100, 50), (200, 100, 50)),
    ],
)
def test_the_colours_that_a_png_names_count(tmp_path, cicp, colour, shown):
    Image.new("RGB", (16, 16), colour).save(tmp_path / "a.png")
    path = with_chunk(tmp_path / "a.png", b"cICP", bytes(cicp))
    seen = read_frames(path)[0, :, 0, 0].numpy().astype(int)
    assert np.abs(seen - shown).max() < 8
    assert ("colours" in str(changes_of(path))) == (cicp[0] != 1)
    assert ("1 file tone-mapped" in notes_of(tmp_path)) == (cicp[1] == 16)


@pytest.mark.parametrize("moving", [False, True])
def test_the_colours_that_an_avif_names_count(tmp_path, moving):
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow cannot write it")
    path = tmp_path / "a.avif"
    frames = [Image.new("RGB", (64, 64), (200, 100, 50 + index)) for index in range(2)]
    options: dict[str, Any] = {"append_images": frames[1:], "duration": 100} if moving else {}
    frames[0].save(path, save_all=moving, quality=100, subsampling="4:4:4", **options)
    plain = path.read_bytes()
    assert b"colrnclx\0\1" in plain
    assert changes_of(path) == ()
    path.write_bytes(plain.replace(b"colrnclx\0\1", b"colrnclx\0\x0c"))
    seen = read_frames(path, ClipOptions(1))[0, :, 0, 0].numpy().astype(int)
    assert np.abs(seen - (216, 93, 31)).max() < 8
    assert changes_of(path) == ("colours 13 12 by its curve",)
    assert "1 file converted from Display P3 to sRGB: a.avif" in notes_of(tmp_path)


def test_a_profile_counts_in_deep_grey(tmp_path):
    for name, values in (("a", np.uint8(55)), ("b", np.uint16(55 * 257))):
        image = Image.fromarray(np.full((16, 16), values))
        image.save(tmp_path / f"{name}.png", icc_profile=grey_profile(1.0))
    shallow, deep = (read_frames(tmp_path / f"{name}.png") for name in "ab")
    assert (shallow == deep).all()
    assert changes_of(tmp_path / "b.png") == ("in sRGB",)


def test_the_grey_that_is_clear_is_white_in_16_bits_too(tmp_path):
    values = np.array([[1000, 30000]] * 8, np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    path = with_chunk(tmp_path / "a.png", b"tRNS", struct.pack(">H", 1000))
    assert read_frames(path)[0, 0, 0].tolist() == [255, round(30000 / 257)]
    assert changes_of(path) == ("a clear grey",)
