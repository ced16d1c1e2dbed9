"""Pictures with rare contents come out as they were meant, or it is said."""

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from helpers.bars import read_frames
from helpers.showing import CORNERS, corner_colours, corners, notes_of
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
        clear.save(path, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    assert np.abs(corner_colours(read_frames(path)[0]) - CORNERS).max() < 3
    assert f"1 file transparent all over, read without that: {name}" in notes_of(tmp_path)
    assert "without its alpha" in changes_of(path)


def test_an_animation_that_is_clear_in_part_stays_so(tmp_path):
    path = tmp_path / "a.webp"
    frames = [Image.new("RGBA", (16, 16), (90, index, 90, 0)) for index in range(3)]
    options = {"save_all": True, "duration": 100, "lossless": True, "exact": True}
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
