"""Which cached items a stage learns from, and which it is measured on."""

from __future__ import annotations

import math
from random import Random

from ..sets.store import Item


def hold_out(items: tuple[Item, ...], seed: int) -> tuple[list[Item], list[Item]]:
    """(training, held-out) items: a tenth is held out; small sets are used for both."""
    if len(items) < 10:
        return list(items), list(items)
    shuffled = Random(f"split/{seed}").sample(items, len(items))
    cut = math.ceil(len(items) / 10)
    return shuffled[cut:], shuffled[:cut]
