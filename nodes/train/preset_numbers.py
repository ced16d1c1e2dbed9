"""A preset's numbers, shown on the node: what a trainer asks, and what its page fills in.

Choosing a preset puts its numbers into the inputs (web/js/numbers.js), and changing one of them
makes the preset a custom one, so that a saved workflow says what was trained and keeps it. What
comes without a number, as over the API, and 0, which older workflows have, are the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from comfy_api.latest import io

from ...training.recipes.presets import PRESETS, make_recipe
from ..shared.sockets import advanced

NUMBERS = ("steps", "rank", "lr", "frames")
CUSTOM = ", custom"  # behind the preset that the other numbers are of
TOOLTIP = (
    "paper: the paper's numbers. fast: fewer steps at a higher learning rate. low memory: for cards"
    " of 8 GB and less. shapes world: for the demo. Choosing one fills in the numbers below;"
    " changing them makes it custom."
)


@cache
def numbers_of(kind: str, preset: str) -> Mapping[str, float]:
    """What a preset trains with, by the name of the input."""
    recipe = make_recipe(kind, preset)
    stage = recipe.stages[-1]
    return {"steps": stage.steps, "rank": stage.rank, "lr": stage.lr, "frames": recipe.frames}


def preset_input(kind: str) -> io.Input:
    """The list of presets, and for the page their numbers."""
    presets = list(PRESETS[kind])
    asked = io.Combo.Input("preset", options=presets, default=presets[0], tooltip=TOOLTIP)
    asked.extra_dict = {"numbers": {preset: numbers_of(kind, preset) for preset in presets}}
    return asked


def number_inputs(kind: str) -> list[io.Input]:
    """The numbers, as the first preset has them; any may be left out."""
    numbers = numbers_of(kind, next(iter(PRESETS[kind])))
    paper = numbers_of(kind, "paper")

    def whole(name: str, most: int, tooltip: str) -> io.Input:
        value = int(numbers[name])
        asked = io.Int.Input(name, optional=True, default=value, min=0, max=most, tooltip=tooltip)
        return advanced(asked)

    rate = io.Float.Input(
        "lr",
        optional=True,
        default=numbers["lr"],
        min=0.0,
        max=0.1,
        step=1e-5,
        round=1e-7,
        tooltip=f"Learning rate; the paper's is {paper['lr']:g}.",
    )
    return [
        whole("steps", 100_000, f"Optimizer steps; the paper's are {paper['steps']}."),
        whole("rank", 512, f"Size of the adapter; the paper's is {paper['rank']}."),
        advanced(rate),
        whole("frames", 32, "Frames of a training clip. Fewer need less memory."),
    ]


def preset_of(shown: str) -> str:
    """The preset whose other numbers are used; shown: as the input says it."""
    return shown.removesuffix(CUSTOM)


def accepted(kind: str, shown: str | None) -> bool | str:
    """What a node's ``validate_inputs`` says of a preset; None where it comes through a wire."""
    if shown is None or preset_of(shown) in PRESETS[kind]:
        return True
    return f"{shown!r} is none of the presets {', '.join(PRESETS[kind])}"
