"""Nodes that make a scale which is not the same everywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from comfy_api.latest import io

from ...adapters.frame_scales import parse_key_frames
from ...adapters.scale_schedule import CURVES, PRESETS, ScaleSchedule
from ...common.errors import UserError
from ..shared.sockets import CATEGORY, CUSTOM, SCALE_SCHEDULE, scale_input

BY_HAND = "by hand"  # the preset without numbers
STILL_THEN_BURST = "0%: 1\n50%: 1\n60%: -1"  # of a Motion Adapter


def schedule_preset() -> io.Input:
    """The list of presets, and for the page (web/js/numbers.js) the numbers that they fill in.

    The node makes what its numbers say, whatever the preset is called.
    """
    asked = io.Combo.Input(
        "preset",
        options=[BY_HAND, *PRESETS],
        default=BY_HAND,
        optional=True,
        tooltip="Fills in the inputs above; changing them makes it custom. motion first, calm"
        " surfaces: of a Motion Adapter. look fades in, look late: of a Spatial Adapter.",
    )
    numbers = {name: asdict(schedule) for name, schedule in PRESETS.items()}
    asked.extra_dict = {"numbers": {BY_HAND: {}, **numbers}, "zero_counts": True}
    return asked


class MakeScaleSchedule(io.ComfyNode):
    """Numbers -> SCALE_SCHEDULE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def scale(name: str, default: float, when: str) -> io.Float.Input:
            return scale_input(f"The adapter's scale {when}.", default, name=name, slider=False)

        def percent(name: str, default: float, tooltip: str) -> io.Float.Input:
            return io.Float.Input(
                name, default=default, min=0.0, max=1.0, step=0.01, round=0.001, tooltip=tooltip
            )

        return io.Schema(
            node_id="StillMovingScaleSchedule",
            display_name="Scale Schedule",
            category=CATEGORY,
            description="A scale that changes while a clip is sampled. Motion is decided early,"
            " details late.",
            inputs=[
                scale("start", 0.0, "before the change"),
                scale("end", 1.0, "after the change"),
                io.Combo.Input(
                    "curve",
                    options=list(CURVES),
                    tooltip="linear: evenly. smooth: slowly at both ends. step: at once, halfway.",
                ),
                percent("start_percent", 0.0, "Where the change begins: 0 is the first step."),
                percent("end_percent", 1.0, "Where the change is complete: 1 is the end."),
                schedule_preset(),
            ],
            outputs=[SCALE_SCHEDULE.Output(display_name="scale_schedule")],
        )

    @classmethod
    def validate_inputs(cls, preset: Any = None) -> bool | str:
        shown = str(preset or BY_HAND).removesuffix(CUSTOM)
        return shown in (BY_HAND, *PRESETS) or f"{preset!r} is none of the presets"

    @classmethod
    def execute(
        cls, start: float, end: float, curve: Any, start_percent: float, end_percent: float,
        preset: str = "",
    ) -> io.NodeOutput:  # fmt: skip  # the inputs by kind, several a line
        return io.NodeOutput(ScaleSchedule(start, end, curve, start_percent, end_percent))


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
