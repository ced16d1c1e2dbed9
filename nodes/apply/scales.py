"""Nodes that make a scale which is not the same everywhere."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...adapters.frame_scales import parse_key_frames
from ...adapters.scale_schedule import CURVES
from ...common.errors import UserError
from ..shared.sockets import CATEGORY, SCALE_SCHEDULE

STILL_THEN_BURST = "0%: 1\n50%: 1\n60%: -1"  # of a Motion Adapter


class ScaleOverFrames(io.ComfyNode):
    """Key frames -> SCALE_SCHEDULE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingScaleOverFrames",
            display_name="Scale over Frames",
            category=CATEGORY,
            description="A scale that differs from frame to frame: a clip that stands still, then"
            " bursts into motion.",
            inputs=[
                io.String.Input(
                    "key_frames",
                    default=STILL_THEN_BURST,
                    multiline=True,
                    tooltip="A line for each key frame: '8: 0.5' is frame 8, counted from 0;"
                    " '50%: 0.5' is the middle of the clip. Or only scales, one for each frame.",
                ),
                io.Combo.Input(
                    "curve",
                    options=list(CURVES),
                    tooltip="Between key frames. linear: evenly. smooth: slowly at both. step: each"
                    " holds until the next.",
                ),
                SCALE_SCHEDULE.Input(
                    "scale_schedule",
                    optional=True,
                    tooltip="Scales to multiply these with: of the steps, from Scale Schedule, or"
                    " of the frames.",
                ),
            ],
            outputs=[SCALE_SCHEDULE.Output(display_name="scale_schedule")],
        )

    @classmethod
    def validate_inputs(cls, key_frames: Any = None, curve: Any = None) -> bool | str:
        if isinstance(key_frames, str) and curve in CURVES:
            try:
                parse_key_frames(key_frames, curve)
            except UserError as error:
                return str(error)
        return True

    @classmethod
    def execute(cls, key_frames: str, curve: Any, scale_schedule: Any = None) -> io.NodeOutput:
        return io.NodeOutput(parse_key_frames(key_frames, curve, scale_schedule))
