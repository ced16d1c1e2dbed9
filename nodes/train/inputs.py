"""What all trainers ask and give, beside a preset's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...training.recipes.presets import make_recipe
from ...training.recipes.recipe import Recipe
from ..shared.sockets import advanced, seed_input
from .preset_numbers import NUMBERS, preset_of

# What a node's list of files has as its type, so that the new adapter can be connected to one.
FileName = io.Custom("COMBO")
POLICIES = ["yield", "keep", "share"]


def machine_inputs() -> list[io.Input]:
    """Of the run, whatever is trained. All optional, or else the page would put them before the
    numbers, which are: a workflow knows its values by their order."""
    return [
        advanced(seed_input("Of the run: the same seed and sets give the same adapter.", True)),
        advanced(
            io.Combo.Input(
                "memory",
                optional=True,
                options=["auto", "none", "top", "two", "all"],
                tooltip="How much of the network is computed twice to save memory: none is fastest,"
                " all needs least. auto: what fits, and more when memory runs out.",
            )
        ),
        advanced(
            io.Combo.Input(
                "precision",
                optional=True,
                options=["auto", "float32", "bfloat16", "float16"],
                tooltip="Of the frozen weights. auto: bfloat16 on cards that have it, float16 on"
                " most older ones.",
            )
        ),
        advanced(
            io.Combo.Input(
                "sharing",
                optional=True,
                options=POLICIES,
                tooltip="While ComfyUI generates: yield frees the card and waits, keep waits with"
                " everything loaded, share trains on.",
            )
        ),
    ]


def name_input(default: str) -> io.Input:
    return io.String.Input("name", default=default, tooltip="Of the new file.")


def recipe_of(kind: str, inputs: Mapping[str, Any], **choices: Any) -> Recipe:
    """The preset's recipe with what an artist has put into the numbers and ``machine_inputs``.

    inputs: of the node, by name; a number that is 0 or missing, and "auto", are the preset's.
    choices: more fields of the recipe, where None does. Raises UserError for what does not fit.
    """
    numbers = {name: inputs.get(name) or None for name in (*NUMBERS, "seed")}
    selected = {"tier": inputs.get("memory", "auto"), "dtype": inputs.get("precision", "auto")}
    numbers |= {name: None if word == "auto" else word for name, word in selected.items()}
    return make_recipe(kind, preset_of(inputs["preset"]), **numbers, **choices)


def outputs() -> list[io.Output]:
    return [
        FileName.Output("adapter", display_name="adapter"),
        io.String.Output("status", display_name="status"),
    ]
