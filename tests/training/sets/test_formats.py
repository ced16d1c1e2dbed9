"""Every format that Pillow and PyAV read is one of a folder, and what is left is counted."""

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile

from helpers.bars import FRAMES, bar, bar_places, read_frames, write_video
from helpers.heic import box, coded, full, heic
from helpers.showing import CORNERS, corner_colours, corners, flat, notes_of, write
from still_moving.common.errors import UserError
from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile

PICTURES = ["jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "jp2"]
PICTURES += ["j2k", "tga", "ppm", "qoi"]
CLIPS = {
    "mp4": "libx264", "m4v": "mpeg4", "mov": "mpeg4", "webm": "libvpx", "mkv": "libx264",
    "avi": "mpeg4", "mts": "libx264", "m2ts": "libx264", "ts": "mpeg2video", "mpg": "mpeg2video",
    "wmv": "wmv2", "asf": "msmpeg4", "flv": "flv", "f4v": "libx264", "3gp": "mpeg4",
    "vob": "mpeg2video", "mxf": "mpeg2video",
}  # fmt: skip  # a codec for each ending, several a line


@pytest.mark.parametrize("ending", PICTURES)
def test_every_picture_is_read(tmp_path, ending):
    path = tmp_path / f"A.{ending.upper()}"
    image = Image.fromarray(corners())
    try:
        image.save(path)
    except (KeyError, ValueError):
        pytest.skip("this Pillow cannot write it")
    assert [file.name for file in media.scan(tmp_path)] == [path.name]
    assert np.abs(corner_colours(read_frames(path)[0]) - CORNERS).max() < 12


@pytest.mark.parametrize("ending", CLIPS)
def test_every_clip_is_read_with_its_times(tmp_path, ending):
    path = tmp_path / f"A.{ending.upper()}"
    write_video(
        path.with_suffix(f".{ending}"), CLIPS[ending], "yuv420p", [bar(i) for i in range(FRAMES)]
    )
    path.with_suffix(f".{ending}").rename(path)
    (file,) = media.scan(tmp_path)
    probe = media.probe(file)
    assert probe.fps == pytest.approx(25, rel=0.02)
    assert bar_places(read_frames(path, ClipOptions(FRAMES))) == list(range(FRAMES))


def test_the_rest_of_a_folder_is_counted(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    for name in ("b.psd", "c.PSD", "d.cr2", "e.mp3", "Thumbs.db", "complete", ".hidden", "README"):
        (tmp_path / name).write_bytes(b"" if name == "complete" else b"x")
    (tmp_path / "more").mkdir()
    said = notes_of(tmp_path).splitlines()
    assert said[0] == "folders inside are not searched: more"
    assert said[1].startswith("5 files not read: 2 .psd (layers; save it as PNG), 1 .cr2 (raw;")
    assert said[1].endswith("1 .mp3, 1 README")


def test_jpeg_xl_is_read_where_its_package_is(tmp_path):
    path = tmp_path / "a.jxl"
    path.write_bytes(b"\xff\x0a" + bytes(40))
    with pytest.raises(UserError, match=r"a\.jxl: found unreadable data"):
        media.probe(MediaFile(path))
    try:
        import pillow_jxl  # noqa: F401  # it registers itself
    except ImportError:
        pytest.skip("no pillow-jxl-plugin")
    Image.fromarray(corners()).save(path)
    assert np.abs(corner_colours(read_frames(path)[0]) - CORNERS).max() < 12


TURNS = {  # irot turns anticlockwise; imir 0 exchanges top and bottom, 1 left and right
    (): lambda p: p,
    (box("irot", b"\1"),): lambda p: np.rot90(p),
    (box("irot", b"\3"), box("imir", b"\0")): lambda p: np.rot90(p, 3)[::-1],
    (box("imir", b"\1"),): lambda p: p[:, ::-1],
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.jpg"])
def test_heic_is_read_whatever_it_is_called(tmp_path, turn, name):
    path = tmp_path / name
    path.write_bytes(heic([coded(corners(64, 96))], 1, (96, 64), turn))
    expected = TURNS[turn](CORNERS)
    assert np.abs(corner_colours(read_frames(path)[0]) - expected).max() < 12


def test_the_tiles_of_a_phones_heic_are_put_together(tmp_path):
    whole = corners(128, 192)
    tiles = [coded(whole[y : y + 64, x : x + 64]) for y in (0, 64) for x in (0, 64, 128)]
    path = tmp_path / "a.heic"
    path.write_bytes(heic(tiles, 3, (180, 120), [box("irot", b"\3")]))
    frame = read_frames(path)[0]
    assert frame.shape == (3, 180, 120)
    expected = np.rot90(whole[:120, :180], 3).transpose(2, 0, 1)
    assert (frame.float() - torch.from_numpy(expected.copy())).abs().mean() < 2


def test_an_hdr_heic_is_mapped(tmp_path):
    signal = flat("yuv420p10le", round(0.58 * 1023), 512, 512, size=(64, 64))
    colours = {"colorspace": 9, "color_range": 2, "color_primaries": 9, "color_trc": 16}
    nclx = box("colr", b"nclx", struct.pack(">HHHB", 9, 16, 9, 128))
    data = heic([coded(signal, "yuv420p10le", **colours)], 1, (64, 64), [nclx])
    (tmp_path / "a.heic").write_bytes(data)
    assert 222 <= read_frames(tmp_path / "a.heic")[0].float().mean() <= 240
    assert "1 file tone-mapped from HDR (PQ) to SDR: a.heic" in notes_of(tmp_path)


def test_an_hdr_avif_is_mapped(tmp_path):
    signal = flat("yuv420p10le", round(64 + 876 * 0.58), 512, 512, size=(64, 64))
    colours = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    write(tmp_path / "a.avif", [signal], "libsvtav1", "yuv420p10le", rate=1, colours=colours)
    assert 225 <= read_frames(tmp_path / "a.avif")[0].float().mean() <= 240
    assert "1 file tone-mapped from HDR (PQ) to SDR: a.avif" in notes_of(tmp_path)


def test_the_page_names_every_ending():
    page = (Path(__file__).parents[3] / "docs" / "media.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\.[a-z0-9]+", "".join(re.findall(r"^\| (\.[^|]*)\|", page, re.M))))
    assert named == {*media.IMAGES, *media.VIDEOS}


@pytest.mark.parametrize("cut", [30, 200, 400, -20])
def test_a_damaged_heic_is_refused_by_name(tmp_path, cut):
    data = heic([coded(corners(64, 96))], 1, (96, 64), [full("pixi", 0, 0, b"\3\x08\x08\x08")])
    (tmp_path / "a.heic").write_bytes(data[:cut])
    with pytest.raises(UserError, match=r"a\.heic: found unreadable data"):
        read_frames(tmp_path / "a.heic")


def profile_of(name):
    """A profile that Pillow has no maker for: LittleCMS's own, with other primaries."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name))
    return profile.tobytes()


def wide(data):
    """sRGB's profile with the primaries of Display P3 (at D50, in ICC's s15Fixed16)."""
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    changed = bytearray(data)
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        name, at, _ = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if name in primaries:
            struct.pack_into(">3i", changed, at + 8, *(round(v * 65536) for v in primaries[name]))
    return bytes(changed)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
def test_colours_come_out_in_srgb(tmp_path, ending):
    srgb = profile_of("sRGB")
    picture = Image.new("RGB", (32, 32), (200, 100, 50))
    options: dict[str, Any] = {"quality": 95} if ending in ("jpg", "webp") else {}
    tones = {}
    profiles = {"none": None, "srgb": srgb, "p3": wide(srgb), "bad": b"no profile"}
    for name, profile in profiles.items():
        path = tmp_path / f"{name}.{ending}"
        picture.save(path, icc_profile=profile, **options)
        tones[name] = read_frames(path)[0].float().mean(dim=(1, 2))
    assert torch.equal(tones["none"], tones["srgb"])
    assert torch.equal(tones["none"], tones["bad"])
    # CSS Color 4, section 10: color(display-p3 0.784 0.392 0.196) in sRGB.
    assert (tones["p3"] - torch.tensor([216.0, 93.0, 31.0])).abs().max() < 4
    said = notes_of(tmp_path)
    assert f"1 file with another colour profile, converted to sRGB: p3.{ending}" in said
    assert f"1 file whose colour profile cannot be used: bad.{ending}" in said


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_a_profile_counts_in_every_mode(tmp_path, mode):
    """Programs leave an RGB profile on pictures that they have made grey."""
    picture, srgb = Image.fromarray(corners()).convert(mode), profile_of("sRGB")
    tones = {}
    for name, profile in (("none", None), ("srgb", srgb), ("p3", wide(srgb))):
        picture.save(tmp_path / f"{name}.png", icc_profile=profile)
        tones[name] = corner_colours(read_frames(tmp_path / f"{name}.png")[0])
    assert (tones["none"] == tones["srgb"]).all()
    grey = mode in ("L", "LA")
    assert (np.abs(tones["none"] - tones["p3"]).max() < 3) == grey
    assert "cannot be used" not in notes_of(tmp_path)


def test_other_packs_switches_do_not_count(tmp_path, monkeypatch):
    """What another pack tells Pillow or torch for the whole process makes no other set."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:4000])
    expected = media.fit(read_frames(tmp_path / "a.png"), (24, 16), "random", 3)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        fitted = media.fit(read_frames(tmp_path / "a.png"), (24, 16), "random", 3)
        with pytest.raises(UserError, match=r"b\.png.*truncated"):
            read_frames(tmp_path / "b.png")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("cpu")
    assert torch.equal(fitted, expected)
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 100)


def test_pages_and_odd_modes(tmp_path):
    first, second = Image.fromarray(corners()), Image.new("RGB", (48, 32))
    first.save(tmp_path / "pages.tiff", save_all=True, append_images=[second])
    assert np.abs(corner_colours(read_frames(tmp_path / "pages.tiff")[0]) - CORNERS).max() < 3
    assert "1 file with several pages: pages.tiff (the first is read)" in notes_of(tmp_path)
    floats = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(floats).save(tmp_path / "floats.tiff")
    assert np.abs(read_frames(tmp_path / "floats.tiff")[0, 0].numpy() - floats * 255).max() < 1
    Image.fromarray(floats * 9).save(tmp_path / "light.tiff")
    with pytest.raises(UserError, match=r"light\.tiff.*outside of 0 to 1"):
        media.probe(MediaFile(tmp_path / "light.tiff"))


def test_an_apngs_first_picture_is_for_others(tmp_path):
    frames = [Image.fromarray(bar(i)) for i in range(4)]
    cover = Image.new("RGB", frames[0].size, "red")
    buffer = io.BytesIO()
    cover.save(buffer, "PNG", save_all=True, default_image=True, append_images=frames, duration=40)
    (tmp_path / "a.apng").write_bytes(buffer.getvalue())
    assert bar_places(read_frames(tmp_path / "a.apng", ClipOptions(4))) == [0, 1, 2, 3]
