"""What a HEIC or AVIF file lists: its items, where their bytes are, and how they are shown.

Boxes by ISO/IEC 14496-12, section 8.11, and their properties by ISO/IEC 23008-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_MOST = 10_000  # items, tiles, and parts of one: a phone's picture has some fifty

Box = tuple[bytes, bytes]  # its kind and its content


@dataclass
class Items:
    """What the meta box lists. properties: by item, in their order."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    parts: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    properties: dict[int, list[Box]] = field(default_factory=dict)
    inside: bytes = b""

    def prop(self, item: int, kind: bytes) -> bytes | None:
        """An item's property of a kind."""
        return next((body for name, body in self.properties.get(item, []) if name == kind), None)


def boxes(data: bytes) -> Iterator[Box]:
    """Those that lie one after another. Raises ValueError for one that is smaller than its head."""
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


def number(data: bytes, at: int, size: int) -> int:
    """An integer of so many bytes. Raises ValueError beyond the end."""
    if at + size > len(data):
        raise ValueError("a damaged box")
    return int.from_bytes(data[at : at + size], "big")


def few(count: int) -> int:
    """The count. Raises ValueError where no picture has so many."""
    if count > _MOST:
        raise ValueError(f"a list of {count} parts")
    return count


def read_items(data: bytes) -> Items:
    """Of a whole file. Raises ValueError, KeyError, IndexError, struct.error for a damaged one."""
    meta = next((body for kind, body in boxes(data) if kind == b"meta"), None)
    if meta is None:
        raise ValueError("no list of pictures in it")
    found, items = dict(boxes(meta[4:])), Items()
    items.inside = found.get(b"idat", b"")
    pitm = found[b"pitm"]
    items.primary = number(pitm, 4, 4 if pitm[0] else 2)
    iinf = found[b"iinf"]
    for _, body in boxes(iinf[8 if iinf[0] else 6 :]):
        wide = 4 if body[0] >= 3 else 2
        items.kinds[number(body, 4, wide)] = body[6 + wide : 10 + wide]
    _locate(items, found[b"iloc"])
    iref = found.get(b"iref", b"\0\0\0\0")
    wide = 4 if iref[0] else 2
    for kind, body in boxes(iref[4:]):
        count = number(body, wide, 2)
        ids = [number(body, wide + 2 + wide * i, wide) for i in range(count)]
        items.parts[kind, number(body, 0, wide)] = ids
    _describe(items, dict(boxes(found[b"iprp"])))
    return items


def _locate(items: Items, iloc: bytes) -> None:
    """iloc: where the bytes of each item are, as (method, offset, length)."""
    version, sizes = iloc[0], number(iloc, 4, 2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, (sizes & 15) if version else 0
    wide = 4 if version == 2 else 2
    count, at = number(iloc, 6, wide), 6 + wide
    for _ in range(few(count)):
        item, at, method = number(iloc, at, wide), at + wide, 0
        if version:
            method, at = number(iloc, at, 2) & 15, at + 2
        base, at = number(iloc, at + 2, base_size), at + 2 + base_size
        extents, at = few(number(iloc, at, 2)), at + 2
        items.places[item] = []
        for _ in range(extents):
            at += index_size
            offset, at = number(iloc, at, offset_size), at + offset_size
            length, at = number(iloc, at, length_size), at + length_size
            items.places[item].append((method, base + offset, length))


def _describe(items: Items, iprp: dict[bytes, bytes]) -> None:
    """ipma: the properties of each item, by their number in ipco."""
    known, ipma = list(boxes(iprp[b"ipco"])), iprp[b"ipma"]
    wide, far = 4 if ipma[0] else 2, ipma[3] & 1
    at = 8
    for _ in range(number(ipma, 4, 4)):
        item, count = number(ipma, at, wide), number(ipma, at + wide, 1)
        at += wide + 1
        for _ in range(count):
            index = number(ipma, at, 1 + far) & (0x7FFF if far else 0x7F)
            at += 1 + far
            if index:
                items.properties.setdefault(item, []).append(known[index - 1])
