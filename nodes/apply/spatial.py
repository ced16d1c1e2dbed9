"""Nodes of the customized checkpoint and the Spatial Adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ...adapters.files.adapter import load_adapter
from ...adapters.host.hooks import rounded
from ...adapters.host.injection import inject_checkpoint
from ...adapters.host.model_parts import injection_notes
from ...adapters.host.spatial_adapter import MODES, apply_spatial_adapter, export_spatial_adapter
from ...common import files
from ...common.names import check_name
from ..shared import folders
from ..shared.cancel import cancellable
from ..shared.notices import output
from ..shared.sockets import CATEGORY, amount_input, mask_input, scale_input, schedule_input


class InjectCheckpoint(io.ComfyNode):
    """MODEL and a checkpoint's file -> MODEL with the checkpoint's image layers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingInjectCheckpoint",
            display_name="Inject Customized Checkpoint",
            category=CATEGORY,
            description="Puts the image layers of a customized checkpoint into a model. LoRAs on"
            " the model stay.",
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 model, with or without motion module."),
                io.Combo.Input(
                    "checkpoint",
                    options=folders.choices(folders.CHECKPOINTS),
                    tooltip="The customized SD1.5 checkpoint (DreamBooth, style, merge).",
                ),
                amount_input(
                    "1 is the customized checkpoint, 0 the model as it comes, between them"
                    " a mixture: less of the look, more of the original motion."
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: Any = None) -> bool | str:
        return folders.accepted(folders.CHECKPOINTS, checkpoint)

    @classmethod
    @cancellable()
    def execute(cls, model: Any, checkpoint: str, amount: float) -> io.NodeOutput:
        path = folders.path_of(folders.CHECKPOINTS, checkpoint)
        injected = inject_checkpoint(model, path, amount)
        notes = [*rounded(model, checkpoint), *injection_notes(model, path)] if amount else []
        return output(injected, notes=notes)


def adapter_file() -> io.Combo.Input:
    return io.Combo.Input(
        "file",
        options=folders.choices(folders.SPATIAL_ADAPTERS),
        tooltip="A Spatial Adapter from models/still_moving_adapters, trained for the connected"
        " checkpoint.",
    )


class ApplySpatialAdapter(io.ComfyNode):
    """MODEL -> the same with a Spatial Adapter at a scale."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingApplySpatialAdapter",
            display_name="Apply Spatial Adapter",
            category=CATEGORY,
            description="Brings a customized checkpoint's look back under a motion module.",
            inputs=[
                io.Model.Input("model", tooltip="The customized model, with a motion module."),
                adapter_file(),
                scale_input(
                    "1 is as trained, 0 is off (plain injection), above 1 exaggerates.",
                    default=1.0,
                    least=0.0,
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    tooltip="merged: into the weights, no cost per step. runtime: after each layer,"
                    " in every step; for fp8 weights, schedules and masks. auto: merged where"
                    " that is exact.",
                ),
                schedule_input(),
                mask_input(),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return folders.accepted(folders.SPATIAL_ADAPTERS, file)

    @classmethod
    def execute(
        cls,
        model: Any,
        file: str,
        scale: float,
        mode: Any,
        scale_schedule: Any = None,
        mask: Any = None,
    ) -> io.NodeOutput:
        adapter = load_adapter(folders.path_of(folders.SPATIAL_ADAPTERS, file), kind="spatial")
        adapted, warnings = apply_spatial_adapter(
            model, adapter, scale_schedule or scale, mode, file, mask
        )
        return output(adapted, notes=warnings)


class ExportSpatialAdapter(io.ComfyNode):
    """MODEL and a Spatial Adapter -> a plain LoRA file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingExportSpatialAdapter",
            display_name="Export Spatial Adapter as LoRA",
            category=CATEGORY,
            description="Writes a Spatial Adapter as a LoRA that every tool loads. It is right for"
            " the connected checkpoint only.",
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The checkpoint that the adapter was trained for, straight from its"
                    " loader: LoRAs on it are not counted in.",
                ),
                adapter_file(),
                scale_input(
                    "What weight 1 of the LoRA will be as a scale of the adapter.",
                    default=1.0,
                    least=0.0,
                    slider=False,
                ),
                io.String.Input(
                    "name",
                    default="still_moving_lora",
                    tooltip="Name of the new file in models/loras, without extension. An existing"
                    " file is never replaced: a number is added.",
                ),
            ],
            outputs=[io.String.Output(display_name="lora_name")],
        )

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return folders.accepted(folders.SPATIAL_ADAPTERS, file)

    @classmethod
    def execute(cls, model: Any, file: str, scale: float, name: str) -> io.NodeOutput:
        adapter = load_adapter(folders.path_of(folders.SPATIAL_ADAPTERS, file), kind="spatial")
        path = free_path(Path(folder_paths.get_folder_paths(folders.LORAS)[0]), name)
        files.make_folder(path.parent)
        export_spatial_adapter(model, adapter, path, scale, file)
        return io.NodeOutput(path.name, ui=ui.PreviewText(f"saved as {path.name}"))


def free_path(folder: Path, name: str) -> Path:
    """A file in a folder that does not exist yet. Raises UserError for a name that cannot be."""
    stem = check_name(name.removesuffix(".safetensors"), also="()", most=100)
    numbered = (f"{stem}_{i}" if i else stem for i in range(10000))
    return next(p for s in numbered if not (p := folder / f"{s}.safetensors").exists())
