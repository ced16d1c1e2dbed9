"""Apply Motion Weights: a motion that was learned in full, on a MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...adapters.files.motion_weights import load_motion_weights
from ...adapters.host.motion_weights import apply_to_model
from ..shared import folders
from ..shared.notices import output
from ..shared.sockets import CATEGORY, amount_input


class ApplyMotionWeights(io.ComfyNode):
    """MODEL with a motion module -> the same with motion weights at an amount."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingApplyMotionWeights",
            display_name="Apply Motion Weights",
            category=CATEGORY,
            description="A motion that was learned in full from clips (VMC, NewMove): changes the"
            " motion module and, for NewMove, how the model reads words.",
            inputs=[
                io.Model.Input("model", tooltip="A model with a motion module."),
                io.Combo.Input(
                    "file",
                    options=folders.choices(folders.MOTION_WEIGHTS),
                    tooltip="Motion weights from models/still_moving_motion_weights. May be"
                    " connected to Train VMC or Train NewMove.",
                ),
                amount_input(
                    "1 is the motion as trained, 0 the model as it was, between them less"
                    " of the motion and less of what came along with it."
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return folders.accepted(folders.MOTION_WEIGHTS, file)

    @classmethod
    def execute(cls, model: Any, file: str, amount: float) -> io.NodeOutput:
        weights = load_motion_weights(folders.path_of(folders.MOTION_WEIGHTS, file))
        moved, warnings = apply_to_model(model, weights, amount, file)
        return output(moved, notes=warnings)
