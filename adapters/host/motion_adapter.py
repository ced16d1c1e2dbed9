"""A Motion Adapter on a MODEL's motion module: patched weights, or a scale that changes.

Still-Moving (arXiv:2407.08674) eq. 3: scale 1 holds the clip still, 0 is the motion module as it
is, below 0 there is more motion. A constant scale costs nothing per step.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor, nn

from ...common.errors import UserError
from ..files.adapter import UNKNOWN, Adapter, AdapterInfo
from ..files.motion_weights import MotionWeightsInfo
from ..low_rank import LowRank
from ..scale_schedule import ScaleSchedule
from . import hooks
from .motion_module import motion_patcher

KEY = "still_moving.motion_adapter"


def apply_motion_adapter(
    model: ModelPatcher, adapter: Adapter, scale: float | ScaleSchedule, name: str
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL whose motion module has the adapter at a scale, and warnings.

    adapter: kind "motion", or any tool's motion LoRA; name: its file, for messages. Adapters add
    up when several are applied. Raises UserError for a MODEL without a motion module, or where no
    layer of the adapter fits.
    """
    adapted = model.clone()
    patcher = motion_patcher(adapted)
    if patcher is None:
        raise UserError(
            name,
            "a model without a motion module",
            "one with a motion module",
            "Put Apply Motion Module before Apply Motion Adapter.",
        )
    fitting, missing = _fit(patcher.model, adapter, name)
    advice = (
        "the scale may not do what it says. Load the one it was trained on,"
        " or train a Motion Adapter for this one."
    )
    warnings = other_module(patcher.model, adapter.info, name, advice)
    if missing:
        warnings.append(
            f"{name}: {len(missing)} of {len(adapter.pairs)} layers are not in"
            f" {patcher.model.file_name} and are left out: {', '.join(missing)}"
        )
    if isinstance(scale, ScaleSchedule):
        _schedule(adapted, fitting, scale)
    elif scale != 0:
        patches: Any = {
            # (up, down, alpha, mid, dora, reshape): without alpha the factor is the scale itself.
            f"{layer}.weight": LoRAAdapter(set(), (pair.up, pair.down, None, None, None, None))
            for layer, pair in fitting.items()
        }
        patcher.add_patches(patches, scale)
    return adapted, warnings


def _fit(motion: nn.Module, adapter: Adapter, name: str) -> tuple[dict[str, LowRank], list[str]]:
    """(pairs whose layer exists, names of the others); a layer of another size is refused."""
    weights = dict(motion.named_parameters())
    fitting, missing = {}, []
    for layer, pair in adapter.pairs.items():
        weight = weights.get(f"{layer}.weight")
        if weight is None:
            missing.append(layer)
            continue
        if weight.shape != (pair.up.shape[0], pair.down.shape[1]):
            raise _misfit(motion, name, f"{tuple(pair.up.shape)} for {layer}")
        fitting[layer] = pair
    if not fitting:
        raise _misfit(motion, name, f"none of its {len(missing)} layers there")
    return fitting, missing


def _misfit(motion: Any, name: str, found: str) -> UserError:
    return UserError(
        name,
        found,
        f"the layers of {motion.file_name} ({motion.info.version})",
        "Use the Motion Adapter that was trained for this motion module, or the other module.",
    )


def other_module(
    motion: Any, trained_on: AdapterInfo | MotionWeightsInfo, name: str, advice: str
) -> list[str]:
    """A warning where a file was trained on another motion module than the one that is loaded."""
    trained = trained_on.motion_module
    if UNKNOWN in (trained, motion.file_hash) or trained == motion.file_hash:
        return []
    return [
        f"{name} was trained on the motion module {trained_on.motion_module_name}, this is"
        f" {motion.file_name}: {advice}"
    ]


def _schedule(model: ModelPatcher, pairs: dict[str, LowRank], schedule: ScaleSchedule) -> None:
    """Add the pairs beside their layers, at the scale of each step."""

    def register(base: Any, frames: int, sigmas: Tensor) -> list[Any]:
        scale = schedule.at(hooks.progress_of(base, sigmas))
        patcher = motion_patcher(base.current_patcher)
        if scale == 0 or frames == 1 or patcher is None:
            return []
        return [
            hooks.submodule(patcher.model, layer).register_forward_hook(_beside(pair, scale))
            for layer, pair in pairs.items()
        ]

    hooks.add_scoped_hooks(model, hooks.unused_key(model, KEY), register)


def _beside(pair: LowRank, scale: float):
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        change = nn.functional.linear(nn.functional.linear(x, pair.down.to(x)), pair.up.to(x))
        return torch.add(output, change, alpha=scale)

    return hook
