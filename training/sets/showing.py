"""How a decoded frame is shown: turned or mirrored, in square pixels, in sRGB, on white."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from . import colours

UNKNOWN = 2  # H.273's number of what a file does not say
_BT709, _BT601 = 1, 5
_MATRICES = (_BT709, 4, 7, 9)  # all others are BT.601's
_UPRIGHT = (1, 0, 0, 1)


@dataclass(frozen=True)
class Showing:
    """How the decoded frames of a track become pictures.

    matrix: a, b, c, d of (x, y) to (ax + cy, bx + dy), each -1, 0 or 1. aspect: width of a pixel
    by its height. hd: nothing says by which matrix colours are coded, and it is large. transfer,
    primaries: H.273's numbers.
    """

    matrix: tuple[int, int, int, int] = _UPRIGHT
    odd: bool = False
    aspect: Fraction = Fraction(1)
    alpha: bool = False
    hd: bool = False
    transfer: int = UNKNOWN
    primaries: int = UNKNOWN

    @property
    def mapped(self) -> bool:
        return colours.needs_mapping(self.transfer, self.primaries)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Of a picture: (width, height)."""
        width, height = _squared(width, height, self.aspect)
        return (height, width) if self.matrix[0] == 0 else (width, height)

    def picture(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8, as it is shown."""
        if self.hd:
            frame.colorspace = _BT709
        if self.mapped:
            deep = _converted(frame, "rgba64le" if self.alpha else "rgb48le")
            pixels = colours.to_srgb(deep[..., :3], self.transfer, self.primaries)
            if self.alpha:
                pixels = on_white(np.dstack([pixels, colours.in_8_bits(deep[..., 3])]))
        elif self.alpha:
            pixels = on_white(_converted(frame, "rgba"))
        else:
            pixels = _converted(frame, "rgb24")
        height, width = pixels.shape[:2]
        if self.aspect != 1:
            square = _squared(width, height, self.aspect)
            image = Image.fromarray(pixels).resize(square, Image.Resampling.BICUBIC)
            pixels = np.array(image)
        return np.ascontiguousarray(turned(pixels, self.matrix))


def _converted(frame: Any, pixels: str) -> np.ndarray:
    """A frame's values as RGB, by the matrix that it names."""
    if not needs_telling(frame):
        return frame.to_ndarray(format=pixels)
    space = int(frame.colorspace)
    return frame.to_ndarray(format=pixels, src_colorspace=space, dst_colorspace=_BT601)


def needs_telling(frame: Any) -> bool:
    """Whether it is PyAV before 17, which goes by a frame's matrix only where it is told of two."""
    return not hasattr(frame, "color_trc") and int(frame.colorspace) in _MATRICES


def turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """A picture (H, W, channels) turned and mirrored; matrix: see Showing."""
    a, b, c, d = matrix
    if a == 0:
        pixels = pixels.swapaxes(0, 1)
    if a + c < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if b + d < 0 else pixels


def on_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of (H, W, 4), whose colours are not multiplied by their alpha."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _squared(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size in square pixels; no side gets smaller."""
    if aspect > 1:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def has_alpha(pixels: Any) -> bool:
    """Whether a pixel format of PyAV's may have it."""
    return pixels.has_palette or any(part.is_alpha for part in pixels.components)


def matrix_of(frame: Any) -> tuple[tuple[int, int, int, int], bool]:
    """The display matrix in whole quarter turns, and whether it says something else."""
    found = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if found is None:
        return _UPRIGHT, False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(found)[:36])
    most = max(map(abs, (a, b, c, d)))
    signs = [0 if abs(part) * 64 < most else 1 if part > 0 else -1 for part in (a, b, c, d)]
    if signs[0] and signs[3] and not signs[1] and not signs[2]:
        return (signs[0], 0, 0, signs[3]), False
    if signs[1] and signs[2] and not signs[0] and not signs[3]:
        return (0, signs[1], signs[2], 0), False
    return _UPRIGHT, True
