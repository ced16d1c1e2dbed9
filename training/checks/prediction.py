"""Whether a recipe trains in what the checkpoint says that it predicts."""

from __future__ import annotations

from pathlib import Path

from ...adapters.files.prediction import Prediction
from ...common.errors import UserError
from ..recipes.recipe import Recipe


def check_prediction(recipe: Recipe, stated: Prediction | None, checkpoint: str | Path) -> None:
    """Raise UserError where the loss would be that of another prediction than the network's."""
    if stated is not None and stated.kind == "v_prediction" != recipe.prediction:
        raise UserError(
            checkpoint, f"a checkpoint that predicts v ({stated})",
            f"one that predicts {recipe.prediction}, as the recipe says",
            'Write "prediction": "v_prediction" into the recipe, or say --prediction v_prediction.',
        )  # fmt: skip  # file, found, expected, next move
