"""Which cached items a stage learns from, and which it is measured on."""

from __future__ import annotations

import math
from random import Random

from ...common.errors import UserError
from ..recipes.recipe import Source
from ..sets.store import Item


def check_lengths(source: Source, items: tuple[Item, ...], frames: int) -> None:
    """Raises UserError for a clip with fewer frames than are trained on."""
    for item in items:
        if source.view in ("clip", "backward") and len(item.latents) < frames:
            raise UserError(
                item.source,
                f"{len(item.latents)} frames",
                f"at least {frames} for natural clips",
                "Cache the clips again with more frames, or train on fewer.",
            )


def split(items: tuple[Item, ...], seed: int) -> tuple[list[Item], list[Item]]:
    """(training, held-out) items: a tenth is held out; small sets are used for both."""
    if len(items) < 10:
        return list(items), list(items)
    shuffled = Random(f"split/{seed}").sample(items, len(items))
    cut = math.ceil(len(items) / 10)
    return shuffled[cut:], shuffled[:cut]
