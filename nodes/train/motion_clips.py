"""Train Motion from Clips, the node of three methods at once: it is there for older workflows.

Each method has a node of its own now (motion_methods.py). A number of 0 here is the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...training.jobs.ticket import Kind
from ...training.recipes.presets import PRESETS
from ..shared import folders
from ..shared.sockets import CATEGORY, MOTION_MODULE, TRAINING_SET, advanced
from .inputs import machine_inputs, outputs
from .motion_choices import absorbing, calling, following
from .motion_trainer import NO_FILE, MotionTrainer

METHOD_NAMES: dict[str, Kind] = {
    "Customize-A-Video": "customize-a-video",
    "VMC": "vmc",
    "NewMove": "newmove",
}
WORDS = (
    "For the absorbers words and both: 2 to 6 words from both captions that say the look, with"
    " commas between them."
)
LOSSES = ["residual_cosine", "residual_official", "residual_l2", "epsilon_mse"]


class TrainMotionFromClips(MotionTrainer):
    """MODEL, MOTION_MODULE and clips -> a job that learns their motion."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingTrainMotionFromClips",
            display_name="Train Motion from Clips",
            category=CATEGORY,
            description="Learns the motion of one clip, or what several share, in the background."
            " Press Train; Run gives the newest file that is ready.",
            is_deprecated=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Model.Input("model", lazy=True, tooltip="The plain model, as it was loaded."),
                MOTION_MODULE.Input("motion_module", lazy=True, tooltip="From Load Motion Module."),
                TRAINING_SET.Input(
                    "clips",
                    lazy=True,
                    tooltip="From Clip Set: one clip, or 5 to 10 for NewMove, with captions.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    lazy=True,
                    tooltip="Of the model's checkpoint; reads prompt, appearance and words. Not"
                    " needed without them.",
                ),
                TRAINING_SET.Input(
                    "regularization",
                    optional=True,
                    lazy=True,
                    tooltip="NewMove: other clips with captions, best real ones of the same kind:"
                    " they keep other motions as they are.",
                ),
                *artist_inputs(),
                *method_inputs(),
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, absorber_file: Any = None) -> bool | str:
        return folders.accepted(folders.LORAS, absorber_file, NO_FILE)

    @classmethod
    def method_of(cls, inputs: Mapping[str, Any]) -> Kind:
        return METHOD_NAMES[inputs["method"]]

    @classmethod
    def asked(cls, inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
        method = cls.method_of(inputs)
        if method == "customize-a-video":
            return absorbing(inputs)
        if method == "vmc":
            return following(inputs)
        return calling(inputs, regularized)


def whole(name: str, most: int, tooltip: str) -> io.Input:
    """A number of the recipe; 0 is the preset's."""
    text = f"{tooltip} 0: as the preset says."
    return advanced(io.Int.Input(name, default=0, min=0, max=most, tooltip=text))


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
        *machine_inputs(),
    ]


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
