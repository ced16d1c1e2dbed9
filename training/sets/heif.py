"""HEIC, and AVIF where Pillow cannot show it: phones' pictures, decoded by PyAV.

A picture is one item, or a grid of them, with properties that say how it is shown (ISO/IEC
23008-12; boxes by ISO/IEC 14496-12, section 8.11). Whatever damaged bytes raise passes through.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from ...common import files
from . import colours
from .probe import Note, Probe
from .progress import Pulse
from .showing import on_white
from .videos import refuse_huge

MAX_PIXELS = 128 << 20
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_CODECS = {b"hvc1": ("hevc", b"hvcC"), b"av01": ("libdav1d", b"av1C"), b"jpeg": ("mjpeg", b"")}
_MOST_ITEMS = 10_000  # and tiles, and parts of one: a phone's picture has some fifty
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")

Box = tuple[bytes, bytes]  # its kind and its content


@dataclass
class _Items:
    """What the meta box lists. properties: by item, in their order."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    parts: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    properties: dict[int, list[Box]] = field(default_factory=dict)
    inside: bytes = b""

    def prop(self, item: int, kind: bytes) -> bytes | None:
        return next((body for name, body in self.properties.get(item, []) if name == kind), None)


def _boxes(data: bytes) -> Iterator[Box]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or len(data) - at
        if size < head:
            raise ValueError("a damaged box")
        yield kind, data[at + head : at + size]
        at += size


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("a damaged box")
    return int.from_bytes(data[at : at + size], "big")


def _few(count: int) -> int:
    if count > _MOST_ITEMS:
        raise ValueError(f"a list of {count} parts")
    return count


def _read_items(data: bytes) -> _Items:
    meta = next((body for kind, body in _boxes(data) if kind == b"meta"), None)
    if meta is None:
        raise ValueError("no list of pictures in it")
    found, items = dict(_boxes(meta[4:])), _Items()
    items.inside = found.get(b"idat", b"")
    pitm = found[b"pitm"]
    items.primary = _number(pitm, 4, 4 if pitm[0] else 2)
    iinf = found[b"iinf"]
    for _, body in _boxes(iinf[8 if iinf[0] else 6 :]):
        wide = 4 if body[0] >= 3 else 2
        items.kinds[_number(body, 4, wide)] = body[6 + wide : 10 + wide]
    _locate(items, found[b"iloc"])
    iref = found.get(b"iref", b"\0\0\0\0")
    wide = 4 if iref[0] else 2
    for kind, body in _boxes(iref[4:]):
        count = _number(body, wide, 2)
        ids = [_number(body, wide + 2 + wide * i, wide) for i in range(count)]
        items.parts[kind, _number(body, 0, wide)] = ids
    _describe(items, dict(_boxes(found[b"iprp"])))
    return items


def _locate(items: _Items, iloc: bytes) -> None:
    """iloc: where the bytes of each item are, as (method, offset, length)."""
    version, sizes = iloc[0], _number(iloc, 4, 2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, (sizes & 15) if version else 0
    wide = 4 if version == 2 else 2
    count, at = _number(iloc, 6, wide), 6 + wide
    for _ in range(_few(count)):
        item, at, method = _number(iloc, at, wide), at + wide, 0
        if version:
            method, at = _number(iloc, at, 2) & 15, at + 2
        base, at = _number(iloc, at + 2, base_size), at + 2 + base_size
        extents, at = _few(_number(iloc, at, 2)), at + 2
        items.places[item] = []
        for _ in range(extents):
            at += index_size
            offset, at = _number(iloc, at, offset_size), at + offset_size
            length, at = _number(iloc, at, length_size), at + length_size
            items.places[item].append((method, base + offset, length))


def _describe(items: _Items, iprp: dict[bytes, bytes]) -> None:
    """ipma: the properties of each item, by their number in ipco."""
    known, ipma = list(_boxes(iprp[b"ipco"])), iprp[b"ipma"]
    wide, far = 4 if ipma[0] else 2, ipma[3] & 1
    at = 8
    for _ in range(_number(ipma, 4, 4)):
        item, count = _number(ipma, at, wide), _number(ipma, at + wide, 1)
        at += wide + 1
        for _ in range(count):
            index = _number(ipma, at, 1 + far) & (0x7FFF if far else 0x7F)
            at += 1 + far
            if index:
                items.properties.setdefault(item, []).append(known[index - 1])


class _Picture:
    """The primary picture of a file."""

    def __init__(self, data: bytes, pulse: Pulse):
        self.data, self.items, self.pulse = data, _read_items(data), pulse
        self.main = self.items.primary
        self.transfer, self.primaries, self.matrix, self.full = 2, 2, 2, None
        self.profile = b""
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
        elif self.profile:
            image = Image.fromarray(rgb)
            image.info["icc_profile"] = self.profile
            rgb = np.array(colours.in_srgb(image)[0])
        alpha = self._alpha()
        if alpha is not None and alpha.shape == rgb.shape[:2]:
            rgb = on_white(np.dstack([rgb, alpha]))
        for kind, body in self.items.properties.get(self.main, []):
            rgb = _transformed(rgb, kind, body)
        return np.ascontiguousarray(rgb)

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
        width, height = _number(body, 4, wide), _number(body, 4 + wide, wide)
        refuse_huge(width, height, MAX_PIXELS)
        tiles = self.items.parts[b"dimg", item]
        if len(tiles) != _few(rows * columns):
            raise ValueError(f"{len(tiles)} of {rows * columns} tiles")
        whole: np.ndarray | None = None
        for number, tile in enumerate(tiles):
            part = self._decoded(tile, pixels, tile=True)
            if whole is None:
                whole = np.zeros((height, width, *part.shape[2:]), part.dtype)
            y, x = number // columns * part.shape[0], number % columns * part.shape[1]
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
    """Whether a file is read here: HEIC by its mark, not its ending, and AVIF in HDR."""
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
        rest = file.read()
    at = (head + rest).find(b"colrnclx")
    return at >= 0 and int.from_bytes((head + rest)[at + 10 : at + 12], "big") in (16, 18)


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
    notes = []
    if shown.mapped:
        notes.append(Note(colours.said(shown.transfer, shown.primaries)))
    elif shown.profile:
        image = Image.new("RGB", (1, 1))
        image.info["icc_profile"] = shown.profile
        profile = colours.in_srgb(image)[1]
        if profile:
            notes.append(Note("with another colour profile, converted to sRGB", profile))
    return Probe(width, height, (0.0,), False, notes=tuple(notes))


def picture(path: Path, pulse: Pulse) -> np.ndarray:
    """(H, W, 3) uint8, upright, in sRGB, on white."""
    return _read(path, pulse).pixels()
