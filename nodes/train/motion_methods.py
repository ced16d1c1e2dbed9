"""Customize-A-Video, VMC and NewMove: a node each, which asks what its method uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..shared import folders
from ..shared.sockets import TRAINING_SET, advanced
from .inputs import name_input
from .motion_choices import ABSORBERS, absorbing, calling, following
from .motion_inputs import choice, last, schema, sources, switch, text_input
from .motion_trainer import NO_FILE, MotionTrainer
from .preset_numbers import number_input, preset_input

LOSSES = ["residual_cosine", "residual_official", "residual_l2", "epsilon_mse"]
LEARNS = ["weights", "LoRA"]
ONE_CLIP = "From Clip Set: one clip, with a caption."


class TrainCustomizeAVideo(MotionTrainer):
    """A clip -> a job that trains a motion LoRA (arXiv:2402.14780)."""

    KIND = "customize-a-video"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="StillMovingTrainCustomizeAVideo",
            display_name="Train Customize-A-Video",
            description="Learns the motion of one clip for other things, in the background: a"
            " motion LoRA.",
            inputs=[
                *sources(ONE_CLIP, "prompt, appearance and words"),
                name_input("my_motion"),
                preset_input(cls.KIND),
                text_input(
                    "prompt",
                    "Instead of the clip's caption: all that is seen, motion included, 'a ginger"
                    " cat jumping on a sofa'.",
                ),
                text_input("appearance", "The same without its motion, 'a ginger cat on a sofa'."),
                choice(
                    "absorber",
                    ABSORBERS,
                    "What takes up the clip's look first: a LoRA, trained words, both, a file that"
                    " did so, or nothing.",
                ),
                advanced(
                    io.String.Input(
                        "words",
                        optional=True,
                        default="",
                        tooltip="For the absorbers words and both: 2 to 6 words from both captions"
                        " that say the look, with commas between them.",
                    )
                ),
                choice(
                    "absorber_file",
                    [NO_FILE, *folders.choices(folders.LORAS)],
                    "For the absorber file: a LoRA for images of the clip's look.",
                ),
                number_input(cls.KIND, "appearance_steps", 100_000, "Steps of the absorber."),
                *last(cls.KIND),
            ],
        )

    @classmethod
    def validate_inputs(cls, absorber_file: Any = None, preset: Any = None) -> bool | str:
        said = folders.accepted(folders.LORAS, absorber_file, NO_FILE)
        return said if said is not True else super().validate_inputs(preset)

    @classmethod
    def asked(cls, inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
        return absorbing(inputs)


class TrainVMC(MotionTrainer):
    """A clip -> a job that trains motion weights, or a LoRA (arXiv:2312.00845)."""

    KIND = "vmc"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="StillMovingTrainVMC",
            display_name="Train VMC",
            description="Learns the motion of one clip, as close as can be, in the background.",
            inputs=[
                *sources(ONE_CLIP, "the prompt"),
                name_input("my_motion"),
                preset_input(cls.KIND),
                text_input(
                    "prompt",
                    "Instead of the clip's caption: who or what moves how, without look and place:"
                    " 'a cat is roaring'.",
                ),
                choice(
                    "loss",
                    LOSSES,
                    "The paper's, that of its code, its plain form, or none of its own.",
                ),
                switch("backward", False, "Learn the clip from its last frame to the first."),
                choice("learns", LEARNS, "Weights in full, or a LoRA for small cards."),
                *last(cls.KIND),
            ],
        )

    @classmethod
    def asked(cls, inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
        return following(inputs)


class TrainNewMove(MotionTrainer):
    """Clips of one motion -> a job that trains motion weights, or a LoRA (arXiv:2312.04966)."""

    KIND = "newmove"

    @classmethod
    def define_schema(cls) -> io.Schema:
        connected = sources(
            "From Clip Set: 5 to 10 clips of one motion, with captions.", "the prompt"
        )
        return schema(
            node_id="StillMovingTrainNewMove",
            display_name="Train NewMove",
            description="Learns the motion that several clips share, by a new word, in the"
            " background.",
            inputs=[
                *connected,
                TRAINING_SET.Input(
                    "regularization",
                    optional=True,
                    lazy=True,
                    tooltip="Other clips with captions, best real ones of the same kind: they keep"
                    " other motions as they are.",
                ),
                name_input("my_motion"),
                preset_input(cls.KIND),
                text_input("token", "A rare word that shall mean the motion, such as pll.", False),
                text_input(
                    "prompt",
                    "Instead of the clips' captions, with the token: 'a person doing the pll'.",
                ),
                switch("keys_values", True, "Also how the model reads words."),
                choice("learns", LEARNS, "Weights in full, or a LoRA for small cards."),
                *last(cls.KIND),
            ],
        )

    @classmethod
    def asked(cls, inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
        return calling(inputs, regularized)
