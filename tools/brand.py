"""Draws the pack's icon and banner, which the registry and ComfyUI's Manager show.

A ball that has moved from left to right, its frames still to be seen: docs/pictures/icon.png (400 x
400) and banner.png (1680 x 720).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from _packed import ROOT
from PIL import Image, ImageDraw, ImageFont

PICTURES = ROOT / "docs" / "pictures"
ICON, BANNER = (400, 400), (1680, 720)
_FINE = 4  # drawn so many times larger, then made small: soft edges
NIGHT, PAPER, BALL, GHOST = (18, 20, 46), (246, 244, 238), (242, 92, 66), (108, 116, 190)
_FRAMES = 5  # of the ball that are seen


def main() -> int:
    icon = _canvas(ICON)
    _ball_in_frames(icon, (0.47, 0.56), 0.92, ICON)
    _save(icon, ICON, "icon")
    banner = _canvas(BANNER)
    _ball_in_frames(banner, (0.245, 0.55), 0.66, BANNER)
    _words(banner)
    _save(banner, BANNER, "banner")
    return 0


def _canvas(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", (size[0] * _FINE, size[1] * _FINE), NIGHT)


def _ball_in_frames(
    image: Image.Image, centre: Sequence[float], width: float, size: tuple[int, int]
) -> None:
    """The ball on an arc, each frame fainter the longer ago. centre, width: of the picture's."""
    draw, side = ImageDraw.Draw(image), size[1] * _FINE
    x0, y0 = centre[0] * size[0] * _FINE, centre[1] * side
    for number in range(_FRAMES):
        share = number / (_FRAMES - 1)
        x = x0 + (share - 0.5) * 0.62 * width * side
        y = y0 + (0.30 - 0.52 * math.sin(math.pi * (0.15 + 0.62 * share))) * width * side * 0.8
        radius = (0.105 + 0.07 * share) * width * side
        colour = BALL if share == 1 else _between(NIGHT, GHOST, 0.25 + 0.6 * share)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
    # The eye looks where the ball goes.
    for part, tone in ((0.42, PAPER), (0.2, NIGHT)):
        reach = radius * part
        draw.ellipse(
            [x + radius * 0.4 - reach, y - reach, x + radius * 0.4 + reach, y + reach], fill=tone
        )


def _words(image: Image.Image) -> None:
    draw, (width, height) = ImageDraw.Draw(image), image.size
    left = 0.47 * width
    draw.text((left, 0.42 * height), "Still-Moving", PAPER, _font(0.125 * height), anchor="ls")
    lines = ("Customized checkpoints that move,", "trained from still images, in ComfyUI.")
    for number, line in enumerate(lines):
        at = (left, (0.58 + 0.085 * number) * height)
        draw.text(at, line, _between(NIGHT, PAPER, 0.75), _font(0.052 * height), anchor="ls")


def _font(size: float) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager  # which brings DejaVu along

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), round(size))


def _between(one: Sequence[int], other: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(a + share * (b - a)) for a, b in zip(one, other, strict=True))


def _save(image: Image.Image, size: tuple[int, int], name: str) -> None:
    image.resize(size, Image.Resampling.LANCZOS).save(PICTURES / f"{name}.png", optimize=True)
