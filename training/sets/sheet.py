"""The contact sheet: every item as the encoder sees it, with its caption, in one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

LONG_SIDE = 160  # pixels of one thumbnail
GAP = 12
LINE = 15
LINES = 3  # file name and two lines of caption
SHEET_WIDTH = 1120
MAX_ITEMS = 240
_PAPER, _INK, _FAINT = (250, 249, 246), (40, 40, 44), (130, 130, 136)

Thumbnail = tuple[str, str, Tensor]


def thumbnail(frames: Tensor) -> Tensor:
    """First, middle and last of (frames, 3, h, w) in 0..1, small: (1 or 3, 3, h', w') uint8."""
    count, height, width = frames.shape[0], *frames.shape[-2:]
    picks = [0, count // 2, count - 1] if count > 1 else [0]
    scale = LONG_SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < 1:
        small = F.interpolate(frames[picks], size, mode="bicubic", antialias=True)
    else:
        small = F.interpolate(frames[picks], size, mode="nearest")
    return (small.clamp(0, 1) * 255).round().to(torch.uint8)


def contact_sheet(title: str, items: Sequence[Thumbnail]) -> Image.Image:
    """items: (file name, caption, thumbnail), all thumbnails of one shape, at least one item."""
    count, _, height, width = items[0][2].shape
    cell_width = max(count * (width + 2) - 2, 100) + GAP
    cell_height = height + LINES * LINE + GAP + 4
    columns = max(1, (SHEET_WIDTH - GAP) // cell_width)
    rows = -(-len(items) // columns)
    top = GAP + LINE + GAP
    size = GAP + min(columns, len(items)) * cell_width, top + rows * cell_height
    sheet = Image.new("RGB", (max(size[0], 360), size[1]), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    draw.text((GAP, GAP), _plain(title, font), fill=_INK, font=font)
    for index, (name, caption, frames) in enumerate(items):
        x = GAP + index % columns * cell_width
        y = top + index // columns * cell_height
        for place, frame in enumerate(frames):
            picture = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
            sheet.paste(picture, (x + place * (width + 2), y))
        text = [(_plain(name, font), _FAINT)]
        text += [(line, _INK) for line in _wrap(_plain(caption, font), cell_width - GAP)]
        for row, (line, colour) in enumerate(text):
            line = _cut(line, cell_width - GAP, font)
            draw.text((x, y + height + 4 + row * LINE), line, fill=colour, font=font)
    return sheet


def _plain(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """One line that the font can draw: without FreeType, Pillow's font is Latin-1 only."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())
    if isinstance(font, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", "replace").decode("latin-1")


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(8, width // 6), max_lines=LINES - 1, placeholder=" ...")


def _cut(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
