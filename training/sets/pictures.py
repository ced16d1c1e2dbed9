"""Pictures, still and moving, by Pillow: upright, in sRGB, on white.

Whatever it raises on damaged bytes passes through; media.py turns it into a UserError.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from ...common import files
from . import colours, heif
from .probe import SHORT_DELAYS, Note, Probe
from .progress import Pulse
from .videos import MAX_PIXELS as MAX_CLIP_PIXELS
from .videos import refuse_huge

MAX_STILL_PIXELS = 128 << 20  # beyond every camera, below every decompression bomb
_MAX_TEXT = 64 << 20  # bytes; a workflow beside a picture passes Pillow's 1 MiB
Image.init()  # else Pillow knows only some formats, by what it happened to open before
_FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI",
)  # fmt: skip  # names, several a line
_PLAIN_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1")
_MOVING = ("GIF", "WEBP", "PNG", "AVIF", "JXL")
_UNWRITTEN = "without its alpha"
_LEVELS, _TWELVE, _INVERTED = "levels", "12 bits", "white is 0"
_PHOTOMETRIC = 262  # TIFF 6.0, PhotometricInterpretation: 0 is WhiteIsZero
_BROWSERS_DELAY, _TOO_SHORT = 0.1, 0.011  # seconds, for animations that say 0 to 10 ms


_Coded: TypeAlias = tuple[int, int] | None  # H.273's transfer function and primaries


@contextmanager
def _own_switches() -> Iterator[None]:
    """Pillow as this pack means it, whatever other packs have told it for the whole process."""
    meant = (
        (Image, "MAX_IMAGE_PIXELS", None),
        (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
        (PngImagePlugin, "MAX_TEXT_CHUNK", _MAX_TEXT),
        (PngImagePlugin, "MAX_TEXT_MEMORY", 4 * _MAX_TEXT),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in meant]
    try:
        for module, name, value in meant:
            setattr(module, name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd EXIF and large pictures
            yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, _Coded]]:
    with files.opened(path) as file, _own_switches():
        coded = _coded(file)
        with _recognized(path, file) as image:
            _refuse_huge(image)
            yield image, coded


def _refuse_huge(image: Image.Image) -> None:
    width, height = image.size
    moving = len(_pages(image)) > 1
    refuse_huge(width, height, MAX_CLIP_PIXELS if moving else MAX_STILL_PIXELS)


def _coded(file: BinaryIO) -> _Coded:
    """The colours that a PNG (cICP) or a moving AVIF names, which Pillow leaves as they are."""
    found, head = (2, 2), file.read(12)
    if head.startswith(b"\x89PNG"):
        file.seek(8)
        while len(start := file.read(8)) == 8 and start[4:] not in (b"IDAT", b"IEND"):
            body, size = b"", int.from_bytes(start[:4], "big")
            if start[4:] == b"cICP" and size == 4:  # PNG, third edition, 11.3.2.6
                body, size = file.read(4), 0
            if len(body) == 4:
                found = body[1], body[0]
            file.seek(size + 4, io.SEEK_CUR)
    elif head[4:8] == b"ftyp" and b"colrprof" not in (data := head + file.read()):
        found = heif.named(data)
    file.seek(0)
    return found if colours.needs_mapping(*found) else None


def _recognized(path: Path, file: BinaryIO) -> Image.Image:
    ending = path.suffix.lower()
    formats = [*_FORMATS, *["TGA"] * (ending == ".tga")]  # it has no mark, so by its name alone
    if ending == ".jxl":
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_jxl")
        if "JXL" not in Image.OPEN:
            raise ValueError("JPEG XL, which Pillow reads with the package pillow-jxl-plugin only")
        formats.append("JXL")
    try:
        return Image.open(file, formats=[name for name in formats if name in Image.OPEN])
    except UnidentifiedImageError:  # would name the file as Python does
        raise ValueError("no picture of a known kind") from None


def _pages(image: Image.Image) -> range:
    """The frames of an animation; a still has one, the first."""
    # Phones write JPEGs with a second picture inside (MPO): those are stills.
    count = getattr(image, "n_frames", 1) if image.format in _MOVING else 1
    # An APNG can have a first picture for programs that know no animations.
    return range(1 if count > 1 and image.info.get("default_image") else 0, count)


def survey(path: Path, pulse: Pulse) -> Probe:
    """Decode everything once."""
    if heif.is_ours(path):
        return heif.survey(path, pulse)
    times, now, changes, notes = [], 0.0, [], []
    with _opened(path) as (image, coded):
        pages = _pages(image)
        image.load()
        pulse()
        shown = _upright(image)
        pulse()
        width, height = shown.size
        if shown.mode not in _PLAIN_MODES:
            _rgb(shown, coded)  # whether it can be
            pulse()
        profile = "" if coded else _profile(shown, notes)
        delay, most = 0.0, 0  # alpha's
        for index in pages:
            pulse()
            image.seek(index)
            image.load()
            most = most or _most_alpha(image)
            times.append(now)
            said = (image.info.get("duration") or 0) / 1000
            delay = said if said >= _TOO_SHORT else _BROWSERS_DELAY
            if 0 < said < _TOO_SHORT:
                changes.append(SHORT_DELAYS)
            now += delay
        if pages.start:
            changes.append("without its first picture")
        if len(pages) == 1 and image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            notes.append(Note("with several pages", "the first is read"))
    changes += shown.info.get(_LEVELS, ())
    if not most:
        changes.append(_UNWRITTEN)
        notes.append(Note("transparent all over, read without that"))
    if coded:
        changes.append(colours.change(*coded))
        notes.append(Note(colours.said(*coded)))
    if profile:
        changes.append("in sRGB")
        notes.append(Note("with another colour profile, converted to sRGB", profile))
    moving = len(times) > 1
    unique = tuple(dict.fromkeys(changes))
    return Probe(width, height, tuple(times), moving, delay * moving, unique, tuple(notes))


def frames(
    path: Path, picks: list[int], pulse: Pulse, changes: tuple[str, ...]
) -> Iterator[np.ndarray]:
    """The picked frames as (H, W, 3) uint8. changes: of the file's Probe."""
    if heif.is_ours(path):
        yield heif.picture(path, pulse)
        return
    with _opened(path) as (image, coded):
        pages = _pages(image)
        for index in picks:
            pulse()
            image.seek(pages[index])
            image.load()
            pulse()
            shown = _upright(image)
            pulse()
            if _UNWRITTEN in changes:
                shown.putalpha(255)
            pixels = _rgb(shown, coded)
            pulse()
            yield pixels


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    return _in_8_bits(upright, _levels(image)) if upright.mode.startswith("I") else upright


def _in_8_bits(deep: Image.Image, levels: list[str]) -> Image.Image:
    """L or LA of grey in 16 bits or more; convert() would clip it to white."""
    grey = Image.fromarray(_of_whole_numbers(np.asarray(deep), levels))
    clear = deep.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray((np.asarray(deep) != clear).astype(np.uint8) * 255))
        levels = [*levels, "a clear grey"]
    grey.info = {**deep.info, _LEVELS: levels}
    grey.info.pop("transparency", None)
    return grey


def _levels(image: Image.Image) -> list[str]:
    """What Pillow leaves undone of a TIFF's deep grey: 12 bits in 16, and white that is 0."""
    tags = getattr(image, "tag_v2", {})
    bits, meaning = tags.get(ExifTags.Base.BitsPerSample), tags.get(_PHOTOMETRIC)
    return [_TWELVE] * (bits == (12,)) + [_INVERTED] * (meaning == 0)


def _most_alpha(image: Image.Image) -> int:
    """The most that is seen; some programs write an alpha of 0 everywhere and mean none."""
    return int(np.asarray(image.getchannel("A")).max()) if image.mode in ("RGBA", "LA") else 255


def _rgb(image: Image.Image, coded: _Coded) -> np.ndarray:
    """(H, W, 3) uint8 of any mode but deep grey."""
    if image.mode == "F":
        return _of_floats(np.asarray(image))
    if coded:
        image = _mapped(image, *coded)
    else:
        with contextlib.suppress(ValueError):  # its profile cannot be used, which was said
            image, _ = colours.in_srgb(_spelled_out(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _mapped(image: Image.Image, transfer: int, primaries: int) -> Image.Image:
    clear = image.has_transparency_data
    values = np.asarray(image.convert("RGBA" if clear else "RGB"))
    rgb = colours.to_srgb(values[..., :3].astype(np.uint16) * 257, transfer, primaries)
    return Image.fromarray(np.dstack([rgb, values[..., 3:]]) if clear else rgb)


def _spelled_out(image: Image.Image) -> Image.Image:
    """A picture whose colours are numbers in a palette, with the colours in their place."""
    if image.mode in ("P", "PA") and image.info.get("icc_profile"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _profile(image: Image.Image, notes: list[Note]) -> str:
    """The colour profile that changes what is seen; "" for none."""
    try:
        return colours.in_srgb(_spelled_out(image))[1]
    except ValueError as error:
        notes.append(Note("whose colour profile cannot be used", str(error)))
        return ""


def _of_whole_numbers(grey: np.ndarray, levels: list[str]) -> np.ndarray:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("whole numbers outside of 0 to 65535; save it with 8 or 16 bits")
    grey = grey.astype(np.float64) / (4095 / 255 if _TWELVE in levels else 257)
    return (255 - grey if _INVERTED in levels else grey).round().astype(np.uint8)


def _of_floats(grey: np.ndarray) -> np.ndarray:
    if not np.isfinite(grey).all() or grey.min() < 0 or grey.max() > 1:
        raise ValueError("floating-point values outside of 0 to 1; save it with 8 or 16 bits")
    return np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=-1)
