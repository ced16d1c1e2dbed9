"""The nodes for clips that are longer than a motion module's limit."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...adapters.host.motion_module import required_motion_patcher
from ...adapters.host.views import ViewPlan, apply_views
from ...adapters.host.windows import apply_windows
from ...adapters.window_plans import SCHEDULES
from ..shared.sockets import CATEGORY, length_input, overlap_input


class ContextWindows(io.ComfyNode):
    """MODEL -> a MODEL that samples long clips a few frames at a time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingContextWindows",
            display_name="Context Windows",
            category=CATEGORY,
            description="Samples clips that are longer than the motion module's limit (24 or 32"
            " frames) in overlapping windows, and blends them. Works with ControlNet; needs memory"
            " for one window only.",
            inputs=[
                io.Model.Input("model", tooltip="A model, with or without a motion module."),
                length_input(
                    "Frames sampled together. 16 is what AnimateDiff was trained on; longer"
                    " needs more memory. A clip that fits into one window is left alone."
                ),
                overlap_input(
                    "Frames that neighbouring windows share at least. More makes the"
                    " passage from window to window smoother and sampling slower; less than"
                    " length."
                ),
                io.Combo.Input(
                    "schedule",
                    options=list(SCHEDULES),
                    tooltip="uniform: windows from the first frame to the last. looped: the last"
                    " frames also share windows with the first, for a clip that repeats"
                    " seamlessly.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any, length: int, overlap: int, schedule: str) -> io.NodeOutput:
        return io.NodeOutput(apply_windows(model, length, overlap, schedule))


class MotionViews(io.ComfyNode):
    """MODEL with a motion module -> one whose motion module sees long clips in parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingMotionViews",
            display_name="Motion Views",
            category=CATEGORY,
            description="Lets a motion module see a clip that is longer than its limit in"
            " overlapping parts. The image layers draw every frame once, not once a window as under"
            " Context Windows; the whole clip has to fit into memory.",
            inputs=[
                io.Model.Input("model", tooltip="A model with a motion module."),
                length_input(
                    "Frames that see each other. 16 is what AnimateDiff was trained on. A clip that"
                    " fits into one view is left alone."
                ),
                overlap_input(
                    "Frames that neighbouring views share at least. More makes the passage"
                    " smoother; less than length."
                ),
                io.Combo.Input(
                    "schedule",
                    options=list(SCHEDULES),
                    tooltip="uniform: views from the first frame to the last. looped: the last"
                    " frames also see the first, for a clip that repeats seamlessly.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any, length: int, overlap: int, schedule: str) -> io.NodeOutput:
        patcher = required_motion_patcher(model, "model", "Motion Views")
        limit = patcher.model.info.max_frames
        return io.NodeOutput(apply_views(model, ViewPlan(length, overlap, schedule), limit))
