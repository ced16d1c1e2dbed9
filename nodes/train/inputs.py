"""What the trainers ask and give: name and preset first, the numbers of every training after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...training.recipes.presets import PRESETS, make_recipe
from ...training.recipes.recipe import Recipe
from ..shared.sockets import advanced, seed_input

# What a node's list of files has as its type, so that the new adapter can be connected to one.
FileName = io.Custom("COMBO")
POLICIES = ["yield", "keep", "share"]


def whole(name: str, most: int, tooltip: str) -> io.Input:
    """A number of the recipe; 0 is the preset's."""
    text = f"{tooltip} 0: as the preset says."
    return advanced(io.Int.Input(name, default=0, min=0, max=most, tooltip=text))


def number_inputs(kind: str) -> list[io.Input]:
    """What an artist may leave alone."""
    stage = make_recipe(kind, "paper").stages[0]
    return learning_inputs(
        f"Optimizer steps; the paper's are {stage.steps}.",
        f"Size of the adapter; the paper's is {stage.rank}.",
        f"Learning rate; the paper's is {stage.lr:g}.",
    )


def learning_inputs(steps: str, rank: str, lr: str) -> list[io.Input]:
    """The numbers of every training. steps, rank, lr: what their tooltips say."""
    return [
        whole("steps", 100_000, steps),
        whole("rank", 512, rank),
        advanced(
            io.Float.Input(
                "lr",
                default=0.0,
                min=0.0,
                max=0.1,
                step=1e-5,
                round=1e-7,
                tooltip=f"{lr} 0: as the preset says.",
            )
        ),
        whole("frames", 32, "Frames of a training clip. Fewer need less memory."),
        advanced(seed_input("Of the run: the same seed and sets give the same adapter.")),
        advanced(
            io.Combo.Input(
                "memory",
                options=["auto", "none", "top", "two", "all"],
                tooltip="How much of the network is computed twice to save memory: none is fastest,"
                " all needs least. auto: what fits, and more when memory runs out.",
            )
        ),
        advanced(
            io.Combo.Input(
                "precision",
                options=["auto", "float32", "bfloat16", "float16"],
                tooltip="Of the frozen weights. auto: bfloat16 on cards that have it, float16 on"
                " most older ones.",
            )
        ),
        advanced(
            io.Combo.Input(
                "sharing",
                options=POLICIES,
                tooltip="While ComfyUI generates: yield frees the card and waits, keep waits with"
                " everything loaded, share trains on.",
            )
        ),
    ]


def name_and_preset(kind: str) -> list[io.Input]:
    return [
        io.String.Input("name", default=f"my_{kind}_adapter", tooltip="Of the new adapter's file."),
        io.Combo.Input(
            "preset",
            options=list(PRESETS[kind]),
            tooltip="paper: the paper's numbers. fast: fewer steps at a higher learning rate. low"
            " memory: for cards of 8 GB and less. shapes world: for the demo.",
        ),
    ]


def recipe_of(kind: str, inputs: Mapping[str, Any], **choices: Any) -> Recipe:
    """The preset's recipe with what an artist has put into ``learning_inputs``.

    inputs: of the node, by name; 0 and "auto" leave a number to the preset. choices: more fields of
    the recipe, where None does. Raises UserError for what does not fit.
    """
    numbers = {name: inputs[name] or None for name in ("steps", "rank", "lr", "frames", "seed")}
    selected = {"tier": inputs["memory"], "dtype": inputs["precision"]}
    numbers |= {name: None if word == "auto" else word for name, word in selected.items()}
    return make_recipe(kind, inputs["preset"], **numbers, **choices)


def outputs() -> list[io.Output]:
    return [
        FileName.Output("adapter", display_name="adapter"),
        io.String.Output("status", display_name="status"),
    ]
