"""HEIC, and AVIF where Pillow cannot show it: phones' pictures, decoded by PyAV.

A picture is one item, or a grid of them, with properties that say how it is shown (ISO/IEC
23008-12). Whatever damaged bytes raise passes through.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from ...common import files
from . import colours
from .boxes import Box, few, number, read_items
from .probe import Note, Probe
from .progress import Pulse
from .showing import on_white
from .videos import refuse_huge

MAX_PIXELS = 128 << 20
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_CODECS = {b"hvc1": ("hevc", b"hvcC"), b"av01": ("libdav1d", b"av1C"), b"jpeg": ("mjpeg", b"")}
_GREY = 3  # of 255: what decoding from YCbCr may make of a grey
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


class _Picture:
    """The primary picture of a file. notes, changes: see Probe; whole once its pixels are made."""

    def __init__(self, data: bytes, pulse: Pulse):
        self.data, self.items, self.pulse = data, read_items(data), pulse
        self.main = self.items.primary
        self.transfer, self.primaries, self.matrix, self.full = 2, 2, 2, None
        self.profile = b""
        self.notes: list[Note] = []
        self.changes: list[str] = []
        for kind, body in self._properties():
            if kind == b"colr" and body[:4] == b"nclx":
                self.primaries, self.transfer, self.matrix = struct.unpack_from(">HHH", body, 4)
                self.full = bool(body[10] & 128)
            elif kind == b"colr":
                self.profile = body[4:]

    def _properties(self) -> list[Box]:
        own = self.items.properties.get(self.main, [])
        if any(kind == b"colr" for kind, _ in own):
            return own
        tiles = self.items.parts.get((b"dimg", self.main), [])  # some write it to the tiles alone
        first = self.items.properties.get(tiles[0], []) if tiles else []
        return own + [box for box in first if box[0] == b"colr"]

    @property
    def mapped(self) -> bool:
        return colours.needs_mapping(self.transfer, self.primaries) and not self.profile

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, upright, in sRGB, on white."""
        rgb = self._decoded(self.main, "rgb48le" if self.mapped else "rgb24")
        if self.mapped:
            rgb = colours.to_srgb(rgb, self.transfer, self.primaries)
            self.notes.append(Note(colours.said(self.transfer, self.primaries)))
            self._name_change()
        elif self.profile:
            rgb = self._by_profile(rgb)
        alpha = self._alpha()
        if alpha is not None and alpha.shape == rgb.shape[:2]:
            rgb = on_white(np.dstack([rgb, alpha]))
        for kind, body in self.items.properties.get(self.main, []):
            rgb = _transformed(rgb, kind, body)
        return np.ascontiguousarray(rgb)

    def _name_change(self) -> None:
        """HDR was always mapped, and HEIC's wide gamuts, but not by their curve."""
        hdr = self.transfer in (colours.PQ, colours.HLG)
        if not hdr and (self.transfer == colours.SRGB or b"av01" in self.items.kinds.values()):
            self.changes.append(colours.change(self.transfer, self.primaries))

    def _by_profile(self, rgb: np.ndarray) -> np.ndarray:
        image = Image.fromarray(rgb)
        # A profile for grey is of no use to colours; a picture without any is decoded to RGB, too.
        if self.profile[16:20] == b"GRAY" and np.ptp(rgb, axis=-1).max() <= _GREY:
            image = image.convert("L")
        image.info["icc_profile"] = self.profile
        try:
            mapped, name = colours.in_srgb(image)
        except ValueError as error:
            self.notes.append(Note("whose colour profile cannot be used", str(error)))
            return rgb
        if name:
            self.notes.append(Note("with another colour profile, converted to sRGB", name))
        return np.array(mapped.convert("RGB"))

    def _alpha(self) -> np.ndarray | None:
        for (kind, item), of in self.items.parts.items():
            aux = self.items.prop(item, b"auxC") if kind == b"auxl" and self.main in of else None
            if aux is not None and aux[4:].split(b"\0")[0] in _ALPHA:
                return self._decoded(item, "gray")
        return None

    def _bytes(self, item: int) -> bytes:
        parts = []
        for method, offset, length in self.items.places[item]:
            if method not in (0, 1):
                raise ValueError("a picture made of other items")
            source = self.items.inside if method else self.data
            part = source[offset : offset + length if length else None]
            if len(part) < length:
                raise ValueError("the file ends before its picture does")
            parts.append(part)
        return b"".join(parts)

    def _decoded(self, item: int, pixels: str, tile: bool = False) -> np.ndarray:
        self.pulse()
        kind = self.items.kinds[item]
        if kind == b"grid" and not tile:
            return self._grid(item, pixels)
        if kind not in _CODECS:
            raise ValueError(f"a picture of kind {kind.decode('latin-1')!r}")
        name, box = _CODECS[kind]
        context: Any = av.CodecContext.create(name, "r")
        extra = self.items.prop(item, box)
        if extra:
            context.extradata = extra
        context.options = {"max_pixels": str(MAX_PIXELS)}
        frames = [*context.decode(av.Packet(self._bytes(item))), *context.decode(None)]
        if not frames:
            raise ValueError("not one frame could be decoded")
        frame = frames[0]
        if self.matrix != 2:
            frame.colorspace = self.matrix
        if self.full is not None:
            frame.color_range = 2 if self.full else 1
        return frame.to_ndarray(format=pixels)

    def _grid(self, item: int, pixels: str) -> np.ndarray:
        body = self._bytes(item)
        wide = 4 if body[1] & 1 else 2
        rows, columns = body[2] + 1, body[3] + 1
        width, height = number(body, 4, wide), number(body, 4 + wide, wide)
        refuse_huge(width, height, MAX_PIXELS)
        tiles = self.items.parts[b"dimg", item]
        if len(tiles) != few(rows * columns):
            raise ValueError(f"{len(tiles)} of {rows * columns} tiles")
        whole: np.ndarray | None = None
        for index, tile in enumerate(tiles):
            part = self._decoded(tile, pixels, tile=True)
            if whole is None:
                whole = np.zeros((height, width, *part.shape[2:]), part.dtype)
            y, x = index // columns * part.shape[0], index % columns * part.shape[1]
            space = whole[y : y + part.shape[0], x : x + part.shape[1]]
            space[:] = part[: space.shape[0], : space.shape[1]]
        assert whole is not None
        return whole


def _transformed(rgb: np.ndarray, kind: bytes, body: bytes) -> np.ndarray:
    """A picture after one property: turned (irot), mirrored (imir) or cut (clap)."""
    if kind == b"irot":
        return np.rot90(rgb, body[0] & 3)  # anticlockwise
    if kind == b"imir":
        return rgb[:, ::-1] if body[0] & 1 else rgb[::-1]
    if kind == b"clap":
        wide, high, right, down = (n / d for n, d in struct.iter_unpack(">iI", body[:32]) if d)
        x = round((rgb.shape[1] - wide) / 2 + right)
        y = round((rgb.shape[0] - high) / 2 + down)
        return rgb[max(0, y) : max(0, y) + round(high), max(0, x) : max(0, x) + round(wide)]
    return rgb


def is_ours(path: Path) -> bool:
    """Whether a file is read here: HEIC by its mark, and AVIF in HDR or a wide gamut."""
    with files.opened(path) as file:
        head = file.read(512)
        if head[4:8] != b"ftyp":
            return False
        marks = head[8 : int.from_bytes(head[:4], "big")]
        brands = {marks[i : i + 4] for i in range(0, len(marks) - 3, 4)}
        if brands & _HEIC:
            return True
        if b"avif" not in brands or b"avis" in brands:
            return False
        if "AVIF" not in Image.OPEN:
            return True
        data = head + file.read()
    transfer, primaries = named(data)
    if transfer in (colours.PQ, colours.HLG):
        return True
    profile = b"colrprof" in data or b"colrrICC" in data  # goes before, and Pillow gives it
    return colours.needs_mapping(transfer, primaries) and not profile


def named(data: bytes) -> tuple[int, int]:
    """Transfer function and primaries that a file names first, as H.273's numbers."""
    at = data.find(b"colrnclx")
    if at < 0 or at + 12 > len(data):
        return 2, 2
    primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    return transfer, primaries


def _read(path: Path, pulse: Pulse) -> _Picture:
    data = files.read_bytes(path)
    try:
        return _Picture(data, pulse)
    except (KeyError, IndexError, struct.error) as error:
        raise ValueError("a damaged list of its pictures") from error


def survey(path: Path, pulse: Pulse) -> Probe:
    """Decode it once."""
    shown = _read(path, pulse)
    height, width = shown.pixels().shape[:2]
    return Probe(width, height, (0.0,), False, 0.0, tuple(shown.changes), tuple(shown.notes))


def picture(path: Path, pulse: Pulse) -> np.ndarray:
    """(H, W, 3) uint8, upright, in sRGB, on white."""
    return _read(path, pulse).pixels()
