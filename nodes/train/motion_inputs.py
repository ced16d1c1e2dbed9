"""What Train Motion from Clips asks: an artist's wishes first, the methods' choices after."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...training.recipes.presets import PRESETS
from ..shared import folders
from ..shared.sockets import advanced
from .inputs import learning_inputs, whole

METHOD_NAMES = {"Customize-A-Video": "customize-a-video", "VMC": "vmc", "NewMove": "newmove"}
NO_FILE = "none"
WORDS = (
    "For the absorbers words and both: 2 to 6 words from both captions that say the look, with"
    " commas between them."
)
LOSSES = ["residual_cosine", "residual_official", "residual_l2", "epsilon_mse"]


def text_input(name: str, tooltip: str, **more: Any) -> io.Input:
    return io.String.Input(name, default="", tooltip=tooltip, **more)


def artist_inputs() -> list[io.Input]:
    """What an artist is asked first."""
    return [
        io.Combo.Input(
            "method",
            options=list(METHOD_NAMES),
            tooltip="Customize-A-Video: the motion of one clip, as a motion LoRA. VMC: the motion"
            " of one clip, as close as can be. NewMove: what several clips share, by a new word.",
        ),
        io.String.Input("name", default="my_motion", tooltip="Of the new file."),
        io.Combo.Input(
            "preset",  # each method has the same
            options=list(PRESETS["vmc"]),
            tooltip="paper: the paper's numbers, and our own where its text has none. low memory:"
            " for cards of 8 GB and less. shapes world: for the demo.",
        ),
        text_input(
            "prompt",
            "Instead of the clips' captions. Customize-A-Video: all that is seen, motion"
            " included. VMC: who or what moves how, without look and place: 'a cat is roaring'."
            " NewMove: with the token: 'a person doing the pll'.",
            multiline=True,
        ),
        text_input(
            "appearance",
            "Customize-A-Video: the caption without its motion, 'a ginger cat on a sofa'.",
            multiline=True,
        ),
        text_input("token", "NewMove: a rare word that shall mean the motion, such as pll."),
    ]


def absorber_inputs() -> list[io.Input]:
    """Customize-A-Video: what takes up the look of the clip, so that the motion is free of it."""
    return [
        advanced(
            io.Combo.Input(
                "absorber",
                options=["lora", "words", "both", "file", "none"],
                tooltip="Customize-A-Video: what takes up the clip's look first: a LoRA, trained"
                " words, both, a file that did so, or nothing.",
            )
        ),
        advanced(text_input("words", WORDS)),
        advanced(
            io.Combo.Input(
                "absorber_file",
                options=[NO_FILE, *folders.choices(folders.LORAS)],
                tooltip="For the absorber file: a LoRA for images of the clip's look.",
            )
        ),
    ]


def method_inputs() -> list[io.Input]:
    """Choices of the methods that may be left alone."""

    def switch(name: str, default: bool, tooltip: str) -> io.Input:
        return advanced(io.Boolean.Input(name, default=default, tooltip=tooltip))

    return [
        *absorber_inputs(),
        whole("appearance_steps", 100_000, "Customize-A-Video: steps of the absorber."),
        advanced(
            io.Combo.Input(
                "loss",
                options=LOSSES,
                tooltip="VMC: the paper's, that of its code, its plain form, or none of its own.",
            )
        ),
        switch("backward", False, "VMC: learn the clip from its last frame to the first."),
        advanced(
            io.Combo.Input(
                "learns",
                options=["auto", "weights", "LoRA"],
                tooltip="VMC and NewMove: weights in full, or a LoRA for small cards. auto: as the"
                " preset says. Customize-A-Video is always a LoRA.",
            )
        ),
        switch("keys_values", True, "NewMove: also how the model reads words."),
        switch("check_captions", True, "Refuse captions without a motion, and common tokens."),
        *learning_inputs(
            "Optimizer steps: 500 for Customize-A-Video, 400 for VMC, 800 for NewMove.",
            "Of a LoRA: 4, or 32 for NewMove.",
            "Learning rate: 1e-4, or 1e-5 for NewMove in full.",
        ),
    ]
