"""A motion module in a ComfyUI MODEL: an additional model whose layers run after the UNet's own.

The MODEL's patcher carries the motion module's patcher, so ComfyUI loads, offloads, clones and
frees both together. Its layers run from hooks that live for one call of the UNet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.ldm.modules.attention import SpatialTransformer, attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ...common.errors import UserError
from ...worlds.known import title_of
from ..files.motion_merge import read_merged
from ..files.motion_module import WORLD_OF, MotionModuleInfo, read_motion_module
from ..files.motion_parts import Part, Parts, hash_of, name_of
from . import evolved, hooks
from .calls import Call
from .companions import carried, carry, companion, offload_device
from .layers import MotionModel, Tables
from .noise_schedule import Schedule, set_schedule
from .views import KEY as VIEWS
from .views import Views

KEY = "still_moving.motion_module"
WINDOWS = "Context Windows"


@dataclass(eq=False)
class LoadedMotionModule:
    """A motion module of one file, or merged from several, ready to be built in any precision.

    notes: what to say of what is left out.
    """

    parts: Parts
    info: MotionModuleInfo
    notes: tuple[str, ...] = ()
    _patchers: dict[tuple[torch.dtype, torch.device], ModelPatcher] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """sha256 of the file, or of what it was merged from."""
        return hash_of(self.parts)

    @property
    def name(self) -> str:
        """The file's name, or all their names with their shares."""
        return name_of(self.parts)

    def patcher(self, dtype: torch.dtype, device: torch.device) -> ModelPatcher:
        """Its patcher in a precision for a device, built once; clone it before changing it."""
        key = (dtype, device)
        if key not in self._patchers:
            self._patchers[key] = build_patcher(self.parts, dtype, device)
        return self._patchers[key]


def load_motion_module(path: Path | str) -> LoadedMotionModule:
    """Read and check a motion-module file. Raises UserError for any other file."""
    module = read_motion_module(path)
    parts = (Part(Path(path), module.hash, module.name),)
    return LoadedMotionModule(parts, module.info, module.notes)


def build_patcher(
    parts: Parts,
    dtype: torch.dtype,
    device: torch.device | None = None,
    disable_dynamic: bool = False,
) -> ModelPatcher:
    """A motion module's patcher, merged where it has several parts.

    device: ComfyUI's own unless given. Raises UserError where a part cannot be read any more.
    """
    module = read_merged(parts)
    device = device or comfy.model_management.get_torch_device()
    model: Any = MotionModel(
        module.info,
        comfy.ops.manual_cast,
        attention_pytorch,
        device=offload_device(device),
        dtype=dtype,
    )
    model.file_hash, model.file_name, model.parts = module.hash, module.name, parts
    if module.info.own_positions:
        model.keep_tables(module.tensors)
    tensors = {k: v.to(dtype) for k, v in module.tensors.items() if not k.endswith(".pe")}
    return companion(model, tensors, (build_patcher, (parts, dtype)), device, disable_dynamic)


def apply_motion_module(
    model: ModelPatcher, module: LoadedMotionModule, schedule: Schedule = "auto"
) -> ModelPatcher:
    """A clone of a MODEL that samples clips: its batch is the frames of one clip.

    Raises UserError for a model that the motion module does not fit. An earlier motion module is
    replaced.
    """
    _, base = hooks.layout_of(model)
    made_for = WORLD_OF.get(module.info.channels, "sd15")
    if base != made_for:
        raise UserError(
            module.name,
            f"the motion module of {title_of(made_for)}",
            f"one for the connected model ({base})",
            "Load the motion module and the checkpoint of the same family.",
        )
    evolved.refuse_second_module(model)
    moving = model.clone()
    carry(moving, KEY, module.patcher(precision(model), model.load_device).clone())
    hooks.add_scoped_hooks(moving, KEY, _register)
    moving.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    moving.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _alone)
    set_schedule(moving, schedule, module.info.version)
    return moving


def _alone(executor: Any, model: ModelPatcher, *rest: Any, **named: Any) -> Any:
    """Before sampling: another pack's motion module may have come after ours."""
    evolved.refuse_second_module(model)
    return executor(model, *rest, **named)


def precision(model: ModelPatcher) -> torch.dtype:
    """The precision that a MODEL computes in, whatever its weights are stored in.

    Asked of the MODEL, not of its network: another clone's choice may be loaded into that.
    """
    base: Any = model.model
    return model.get_model_object("manual_cast_dtype") or base.get_dtype()


def motion_patcher(model: ModelPatcher) -> ModelPatcher | None:
    """The patcher of a MODEL's motion module, None where there is none."""
    return carried(model, KEY)


def required_motion_patcher(model: ModelPatcher, subject: str, node: str) -> ModelPatcher:
    """The same, for a node that is of no use without one. Raises UserError about `subject`."""
    patcher = motion_patcher(model)
    if patcher is None:
        others = evolved.has_motion_module(model)
        raise UserError(
            subject,
            f"a model with {evolved.NAME}'s motion module"
            if others
            else "a model without a motion module",
            "one with a motion module from Apply Motion Module, which samples clips",
            f"Put Apply Motion Module {'in its place, ' if others else ''}before {node}.",
        )
    return patcher


def motion_limit(model: ModelPatcher) -> int | None:
    """Frames that a MODEL's motion module can take, None without one, or where views cut them."""
    patcher = motion_patcher(model)
    has_views = model.get_attachment(VIEWS) is not None
    return patcher.model.info.max_frames if patcher and not has_views else None


def refuse_longer(patcher: ModelPatcher, frames: int) -> None:
    """Raise UserError for a clip that is too long for the motion module of this patcher."""
    motion: Any = patcher.model
    limit = motion.info.max_frames
    if frames > limit:
        raise UserError(
            motion.file_name,
            f"a clip of {frames} frames",
            f"at most {limit}, the limit of this motion module",
            f"Make the clip shorter, or put {WINDOWS} or Motion Views before the sampler.",
        )


def _register(call: Call) -> list[Any]:
    frames, patcher = call.frames, motion_patcher(call.base.current_patcher)
    if patcher is None or frames == 1:  # a single picture has no motion
        return []
    motion: Any = patcher.model
    seen = call.views.length if call.views else frames
    refuse_longer(patcher, seen)
    unet = call.base.diffusion_model
    tables = motion.positions(seen, call.sigmas.device)
    handles = [
        _site(hooks.submodule(unet, block)).register_forward_hook(
            _after(transformer, frames, tables[block], call.views)
        )
        for block, transformer in motion.transformers().items()
    ]
    return handles + (_across_frames(unet, frames) if motion.info.norm_across_frames else [])


def _site(block: Any) -> nn.Module:
    """The layer of a block that a motion module comes after: before any down- or upsampling."""
    transformers = [layer for layer in block if isinstance(layer, SpatialTransformer)]
    return transformers[-1] if transformers else block[0]


def _after(transformer: nn.Module, frames: int, tables: Tables, views: Views | None):
    return lambda _module, _inputs, output: transformer(output, frames, tables, views)


def _across_frames(unet: Any, frames: int) -> list[Any]:
    """Norms over all frames of a clip, as the v1 modules were trained (in the resnets only)."""
    norms = [unet.out[0]]
    for module in unet.modules():
        if hasattr(module, "in_layers") and hasattr(module, "emb_layers"):
            norms += [module.in_layers[0], module.out_layers[0]]

    def before(_norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        clips = x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2)
        return (clips.reshape(*clips.shape[:2], -1, x.shape[-1]),)

    def after(_norm: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        clips, channels, rows, width = output.shape
        x = output.reshape(clips, channels, frames, rows // frames, width).transpose(1, 2)
        return x.reshape(clips * frames, channels, rows // frames, width)

    return [n.register_forward_pre_hook(before) for n in norms] + [
        n.register_forward_hook(after) for n in norms
    ]
