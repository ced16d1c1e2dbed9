"""What the nodes of the motion methods have alike: sockets, switches, choices, what comes last."""

from __future__ import annotations

from comfy_api.latest import io

from ..shared.sockets import CATEGORY, MOTION_MODULE, TRAINING_SET, advanced
from .inputs import machine_inputs, outputs
from .preset_numbers import number_inputs


def text_input(name: str, tooltip: str, multiline: bool = True) -> io.Input:
    return io.String.Input(name, default="", multiline=multiline, tooltip=tooltip)


def switch(name: str, default: bool, tooltip: str) -> io.Input:
    return advanced(io.Boolean.Input(name, optional=True, default=default, tooltip=tooltip))


def choice(name: str, options: list[str], tooltip: str) -> io.Input:
    return advanced(io.Combo.Input(name, optional=True, options=options, tooltip=tooltip))


def sources(clips: str, reads: str) -> list[io.Input]:
    """What is connected. clips, reads: what the tooltips say of the clips and of the CLIP."""
    return [
        io.Model.Input("model", lazy=True, tooltip="The plain model, as it was loaded."),
        MOTION_MODULE.Input("motion_module", lazy=True, tooltip="From Load Motion Module."),
        TRAINING_SET.Input("clips", lazy=True, tooltip=clips),
        io.Clip.Input(
            "clip",
            optional=True,
            lazy=True,
            tooltip=f"Of the model's checkpoint; reads {reads}. Not needed without.",
        ),
    ]


def last(kind: str) -> list[io.Input]:
    """What an artist may leave alone with every method."""
    check = switch("check_captions", True, "Refuse captions that seem to name no motion.")
    return [check, *number_inputs(kind), *machine_inputs()]


def schema(node_id: str, display_name: str, description: str, inputs: list[io.Input]) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category=CATEGORY,
        description=f"{description} Press Train; Run gives the newest file that is ready.",
        is_output_node=True,
        hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        inputs=inputs,
        outputs=outputs(),
    )
