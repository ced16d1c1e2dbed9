"""Nodes of the motion module and the Motion Adapter."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...adapters.files.adapter import load_adapter
from ...adapters.host.model_parts import sampling_notes
from ...adapters.host.motion_adapter import apply_motion_adapter
from ...adapters.host.motion_merge import merge_motion_modules
from ...adapters.host.motion_module import apply_motion_module, load_motion_module
from ...adapters.host.noise_schedule import SCHEDULES
from ..shared import folders
from ..shared.cancel import cancellable
from ..shared.notices import output
from ..shared.sockets import (
    CATEGORY,
    MOTION_MODULE,
    mask_input,
    scale_input,
    schedule_input,
)


class LoadMotionModule(io.ComfyNode):
    """A motion module's file -> MOTION_MODULE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingLoadMotionModule",
            display_name="Load Motion Module",
            category=CATEGORY,
            description="Loads an AnimateDiff motion module for SD1.5: v1, v2, v3 or AnimateLCM.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.choices(folders.MOTION_MODULES),
                    tooltip="A motion module from models/animatediff_models, in AnimateDiff's or"
                    " diffusers' format.",
                )
            ],
            outputs=[MOTION_MODULE.Output(display_name="motion_module")],
        )

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return folders.accepted(folders.MOTION_MODULES, file)

    @classmethod
    @cancellable()
    def execute(cls, file: str) -> io.NodeOutput:
        module = load_motion_module(folders.path_of(folders.MOTION_MODULES, file))
        return output(module, notes=module.notes)


class MergeMotionModules(io.ComfyNode):
    """MOTION_MODULE and another one -> a MOTION_MODULE, the mean of their weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingMergeMotionModules",
            display_name="Merge Motion Modules",
            category=CATEGORY,
            description="Mixes two motion modules of one version, such as AnimateDiff's and a"
            " fine-tune of it, into one. Costs nothing per step.",
            inputs=[
                MOTION_MODULE.Input("motion_module_1", tooltip="A motion module."),
                MOTION_MODULE.Input(
                    "motion_module_2", tooltip="Another one of the same version and length."
                ),
                io.Float.Input(
                    "ratio",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="The share of motion_module_1: 1 is motion_module_1 alone, 0 is"
                    " motion_module_2 alone.",
                ),
            ],
            outputs=[MOTION_MODULE.Output(display_name="motion_module")],
        )

    @classmethod
    def execute(cls, motion_module_1: Any, motion_module_2: Any, ratio: float) -> io.NodeOutput:
        return output(merge_motion_modules(motion_module_1, motion_module_2, ratio))


class ApplyMotionModule(io.ComfyNode):
    """MODEL and MOTION_MODULE -> a MODEL that samples clips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingApplyMotionModule",
            display_name="Apply Motion Module",
            category=CATEGORY,
            description="Makes a model sample clips: the batch of the latent is the frames of one"
            " clip. A batch of one is sampled as a plain image.",
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 model; LoRAs may come before or after."),
                MOTION_MODULE.Input(
                    "motion_module", tooltip="From Load Motion Module or Merge Motion Modules."
                ),
                io.Combo.Input(
                    "schedule",
                    options=list(SCHEDULES),
                    tooltip="The noise schedule to sample on. auto: the one that the motion module"
                    " was trained with; wrong ones look washed out or burnt. For AnimateLCM use"
                    " the sampler lcm, 4 to 8 steps and cfg 1 to 2.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    @cancellable()
    def execute(cls, model: Any, motion_module: Any, schedule: Any) -> io.NodeOutput:
        moving = apply_motion_module(model, motion_module, schedule)
        return output(moving, notes=sampling_notes(model, schedule))


class ApplyMotionAdapter(io.ComfyNode):
    """MODEL with a motion module -> the same with a Motion Adapter at a scale."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingApplyMotionAdapter",
            display_name="Apply Motion Adapter",
            category=CATEGORY,
            description="A slider for the amount of motion. Also takes motion LoRAs of AnimateDiff"
            " and diffusers.",
            inputs=[
                io.Model.Input("model", tooltip="A model with a motion module."),
                io.Combo.Input(
                    "file",
                    options=folders.choices(folders.MOTION_ADAPTERS),
                    tooltip="A Motion Adapter or motion LoRA from models/animatediff_motion_lora.",
                ),
                scale_input(
                    "Motion Adapter: 1 is frozen, 0 is the original motion, below 0 is more"
                    " motion. Motion LoRA: 1 is its full effect, 0 is none.",
                    default=0.0,
                ),
                schedule_input(),
                mask_input(),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return folders.accepted(folders.MOTION_ADAPTERS, file)

    @classmethod
    def execute(
        cls, model: Any, file: str, scale: float, scale_schedule: Any = None, mask: Any = None
    ) -> io.NodeOutput:
        path = folders.path_of(folders.MOTION_ADAPTERS, file)
        adapter = load_adapter(path, kind="motion", pairs_only=False)
        adapted, warnings = apply_motion_adapter(
            model, adapter, scale_schedule or scale, file, mask
        )
        return output(adapted, notes=warnings)
