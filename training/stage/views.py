"""How a source sees an item's latents: a clip, a frozen frame, one frame, or a patch of it."""

from __future__ import annotations

from torch import Tensor

from ..recipes.recipe import Source
from .draws import Draw


def view(latents: Tensor, kind: str, position: float, frames: int) -> Tensor:
    """How a source sees an item.

    latents: (n, channels, height, width); position: 0..1. Returns (1, channels, frames, height,
    width): one frame repeated ("frozen", the frame at ``position``), ``frames`` consecutive ones
    ("clip", starting anywhere that leaves enough), the same from last to first ("backward"), or,
    with a single frame in the result, the frame at ``position`` ("frame").
    """
    if kind in ("frozen", "frame"):
        count = frames if kind == "frozen" else 1
        chosen = latents[int(position * len(latents))].expand(count, -1, -1, -1)
    else:
        start = int(position * (len(latents) - frames + 1))
        chosen = latents[start : start + frames]
        chosen = chosen.flip(0) if kind == "backward" else chosen
    return chosen.transpose(0, 1)[None]


def patch(clean: Tensor, crop: float, dice: tuple[float, float, float]) -> Tensor:
    """A random patch, so that postures are not learned with textures (Customize-A-Video, A.2).

    clean: (1, channels, frames, height, width). dice: three numbers in 0..1, for the side (evenly
    between ``crop`` and 1 of the whole) and for its place. Cut from latents, at their scale.
    """
    if crop == 1:
        return clean
    side = crop + (1 - crop) * dice[0]
    for dim, place in ((-2, dice[1]), (-1, dice[2])):
        whole = clean.shape[dim]
        # Even sides: the network halves them, and an odd one would be padded.
        size = max(2, 2 * round(side * whole / 2))
        clean = clean.narrow(dim, round(place * (whole - size)), size)
    return clean


def seen(latents: Tensor, source: Source, draw: Draw, frames: int) -> Tensor:
    """A planned sample of a source: (1, channels, frames, height, width)."""
    clean = view(latents, source.view, draw.frame, frames)
    return patch(clean, source.crop, draw.crop)
