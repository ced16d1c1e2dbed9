"""Clips that cannot be trained on: too short, or no clips at all."""

from __future__ import annotations

from collections.abc import Sequence

from ...common.errors import UserError
from ..recipes.recipe import Source
from ..sets.store import Item


def check_lengths(source: Source, items: Sequence[Item], frames: int) -> None:
    """Raises UserError for a clip with fewer frames than are trained on."""
    for item in items:
        if source.moves and len(item.latents) < frames:
            raise UserError(
                item.source,
                f"{len(item.latents)} frames",
                f"at least {frames} for natural clips",
                "Cache the clips again with more frames, or train on fewer.",
            )


def refuse_stills(items: Sequence[Item]) -> None:
    """Raises UserError for a clip of one frame."""
    still = next((item for item in items if len(item.latents) == 1), None)
    if still is not None:
        raise UserError(still.source, "one frame, a still", "a clip", "Choose a clip that moves.")
