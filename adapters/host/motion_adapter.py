"""A Motion Adapter on a MODEL's motion module: patched weights, or a scale that changes.

Still-Moving (arXiv:2407.08674) eq. 3: scale 1 holds the clip still, 0 is the motion module as it
is, below 0 there is more motion. A constant scale costs nothing per step.
"""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor, nn

from ..files.adapter import Adapter
from ..low_rank import LowRank
from ..scale_schedule import ScaleSchedule
from . import hooks
from .fit import fit_layers, other_module, refuse_misfit
from .motion_module import motion_patcher, precision, required_motion_patcher
from .pairs import carry_pairs, pairs_in

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
    patcher = required_motion_patcher(adapted, name, "Apply Motion Adapter")
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
        _hook(adapted, fitting, scale)
    elif scale != 0:
        patches: Any = {
            # (up, down, alpha, mid, dora, reshape): without alpha the factor is the scale itself.
            f"{layer}.weight": LoRAAdapter(set(), (pair.up, pair.down, None, None, None, None))
            for layer, pair in fitting.items()
        }
        patcher.add_patches(patches, scale)
    return adapted, warnings


def _fit(motion: Any, adapter: Adapter, name: str) -> tuple[dict[str, LowRank], list[str]]:
    """(pairs whose layer exists, names of the others); refused if none fits, or one by its size."""
    weights = dict(motion.named_parameters())
    fit = fit_layers(
        {f"{layer}.weight": pair.shape for layer, pair in adapter.pairs.items()},
        {key: weight.shape for key, weight in weights.items()},
    )
    refuse_misfit(
        fit,
        name,
        f"the layers of {motion.file_name} ({motion.info.version})",
        "Use the Motion Adapter that was trained for this motion module, or the other module.",
        may_lack=True,
    )
    fitting, missing = (
        [key.removesuffix(".weight") for key in keys] for keys in (fit.fitting, fit.missing)
    )
    return {layer: adapter.pairs[layer] for layer in fitting}, missing


def _hook(model: ModelPatcher, pairs: dict[str, LowRank], scale: ScaleSchedule) -> None:
    """Add the pairs beside their layers, at the scale of each step."""
    key = hooks.unused_key(model, KEY)

    def register(base: Any, frames: int, sigmas: Tensor) -> list[Any]:
        step_scale = hooks.scale_of_step(scale, base, sigmas)
        patcher = motion_patcher(base.current_patcher)
        if step_scale is None or frames == 1 or patcher is None:
            return []
        here = pairs_in(base.current_patcher, key)
        return hooks.hook_layers(
            patcher.model, {layer: _beside(pair, step_scale) for layer, pair in here.items()}
        )

    carry_pairs(model, key, pairs, precision(model))
    hooks.add_scoped_hooks(model, key, register)


def _beside(pair: nn.Module, scale: Tensor):
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + scale * pair(inputs[0])

    return hook
