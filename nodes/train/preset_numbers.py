"""A preset's numbers, shown on the node: what a trainer asks, and what its page fills in.

Choosing a preset puts its numbers into the inputs (web/js/numbers.js), and changing one of them
makes the preset a custom one, so that a saved workflow says what was trained and keeps it. What
comes without a number, as over the API, and 0, which older workflows have, are the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from comfy_api.latest import io

from ...training.recipes.presets import PRESETS, make_recipe
from ...training.recipes.recipe import Recipe
from ..shared.sockets import CUSTOM, advanced

NUMBERS = ("steps", "rank", "lr", "frames")
# What a preset is for, where the artist's list has it.
ABOUT = {
    "paper": "the paper's numbers, and our own where its text has none",
    "fast": "fewer steps at a higher learning rate",
    "LoRA": "a LoRA in place of whole weights, at its own rate",
    "low memory": "for cards of 8 GB and less",
    "shapes world": "for the demo",
}
# What a recipe cannot be without, for a look at its numbers.
_ANY: dict[str, dict[str, Any]] = {"newmove": {"motion_word": "pll"}}
_ABSORBERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "words": {"words": ("a", "b")},
    "both": {"words": ("a", "b")},
    "file": {},
    "none": {},
}


@cache
def numbers_of(kind: str, preset: str) -> Mapping[str, Any]:
    """What a preset trains with, by the name of the input.

    A number that hangs on another input is a table by what is chosen there: {input: {choice:
    number}}.
    """
    recipe = make_recipe(kind, preset, **_ANY.get(kind, {}))
    stage = recipe.stages[-1]
    shown = {"steps": stage.steps, "rank": stage.rank, "lr": stage.lr, "frames": recipe.frames}
    if kind in ("vmc", "newmove"):
        shown["learns"] = "LoRA" if stage.site.trains_motion_adapter else "weights"
    if kind == "customize-a-video":
        shown["appearance_steps"] = {"absorber": _absorbing_steps(preset)}
    return shown


def _absorbing_steps(preset: str) -> dict[str, int]:
    """Of Customize-A-Video's first stage, by absorber; 0 where there is none."""

    def steps(recipe: Recipe) -> int:
        return recipe.stages[0].steps if len(recipe.stages) > 1 else 0

    made = {
        absorber: make_recipe("customize-a-video", preset, absorber=absorber, **more)
        for absorber, more in _ABSORBERS.items()
    }
    return {absorber: steps(recipe) for absorber, recipe in made.items()}


def preset_input(kind: str) -> io.Input:
    """The list of presets, and for the page their numbers."""
    presets = list(PRESETS[kind])
    about = ". ".join(f"{preset}: {ABOUT[preset]}" for preset in presets)
    tooltip = f"{about}. Choosing one fills in the numbers below; changing them makes it custom."
    asked = io.Combo.Input("preset", options=presets, default=presets[0], tooltip=tooltip)
    asked.extra_dict = {"numbers": {preset: numbers_of(kind, preset) for preset in presets}}
    return asked


def number_input(kind: str, name: str, most: int, tooltip: str) -> io.Input:
    """A whole number, as the first preset has it; it may be left out."""
    number = numbers_of(kind, next(iter(PRESETS[kind])))[name]
    if isinstance(number, dict):
        ((_, table),) = number.items()
        number = next(iter(table.values()))
    asked = io.Int.Input(name, optional=True, default=number, min=0, max=most, tooltip=tooltip)
    return advanced(asked)


def number_inputs(kind: str) -> list[io.Input]:
    """The numbers of every training, as the first preset has them; any may be left out."""
    first, paper = numbers_of(kind, next(iter(PRESETS[kind]))), numbers_of(kind, "paper")
    rate = io.Float.Input(
        "lr",
        optional=True,
        default=first["lr"],
        min=0.0,
        max=0.1,
        step=1e-5,
        round=1e-7,
        tooltip=f"Learning rate; the preset paper has {paper['lr']:g}.",
    )
    return [
        number_input(
            kind, "steps", 100_000, f"Optimizer steps; the preset paper has {paper['steps']}."
        ),
        number_input(
            kind,
            "rank",
            512,
            f"Size of the adapter, or of a LoRA; the preset paper has {paper['rank']}.",
        ),
        advanced(rate),
        number_input(kind, "frames", 32, "Frames of a training clip. Fewer need less memory."),
    ]


def preset_of(shown: str) -> str:
    """The preset whose other numbers are used; shown: as the input says it."""
    return shown.removesuffix(CUSTOM)


def accepted(kind: str, shown: str | None) -> bool | str:
    """What a node's ``validate_inputs`` says of a preset; None where it comes through a wire."""
    if shown is None or preset_of(shown) in PRESETS[kind]:
        return True
    return f"{shown!r} is none of the presets {', '.join(PRESETS[kind])}"
