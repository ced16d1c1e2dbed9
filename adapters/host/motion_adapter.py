"""A Motion Adapter on a MODEL's motion module: patched weights, or a scale that changes.

Still-Moving (arXiv:2407.08674) eq. 3: scale 1 holds the clip still, 0 is the motion module as it
is, below 0 there is more motion. A constant scale costs nothing per step.
"""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter, WeightAdapterBase
from torch import Tensor, nn

from ...common.errors import UserError
from ..files.adapter import Adapter
from ..files.lora_change import decomposed
from ..frame_scales import Scale
from ..low_rank import LowRank
from . import hooks
from .calls import Call
from .fit import fit_layers, other_module, refuse_misfit
from .masks import Mask, where
from .motion_module import motion_patcher, precision, required_motion_patcher
from .pairs import carry_pairs, pairs_in
from .scales import CallScale, scale_of_call

KEY = "still_moving.motion_adapter"


class DoraPatch(WeightAdapterBase):
    """A weight whose rows keep the norms that were learned beside its pair (DoRA).

    Under dynamic VRAM ComfyUI makes it anew from (loaded_keys, weights), so all it knows is there.
    """

    name = "still_moving_dora"

    def __init__(self, loaded_keys: set[str], weights: tuple[Tensor, Tensor, Tensor]) -> None:
        self.loaded_keys = loaded_keys
        self.weights: Any = weights  # (down, up, magnitude)

    def calculate_weight(  # type: ignore[override]  # named by what it is here
        self, weight, key, scale, strength_model, offset, function, *_rest, **_named
    ) -> Tensor:
        down, up, magnitude = (part.to(weight.device) for part in self.weights)
        own = weight.float()
        change = scale * (decomposed(own, LowRank(down, up).delta(), magnitude) - own)
        return (own + (function(change) if function else change)).to(weight.dtype)


def apply_motion_adapter(
    model: ModelPatcher, adapter: Adapter, scale: Scale, name: str, mask: Tensor | None = None
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL whose motion module has the adapter at a scale, and warnings.

    adapter: kind "motion", or any tool's motion LoRA; name: its file, for messages. mask: (height,
    width) or (count, height, width), where it acts: at a place with 0 a frame asks and answers as
    without the adapter. Adapters add up when several are applied. Raises UserError for a MODEL
    without a motion module, where no layer of the adapter fits, or for a DoRA in a mask or at a
    scale that changes.
    """
    scale, acting = where(mask, scale)
    adapted = model.clone()
    patcher = required_motion_patcher(adapted, name, "Apply Motion Adapter")
    fitting, missing = _fit(patcher.model, adapter, name)
    advice = (
        "the scale may not do what it says. Load the one it was trained on,"
        " or train a Motion Adapter for this one."
    )
    warnings = adapter.notes + other_module(patcher.model, adapter.info, name, advice)
    if missing:
        warnings.append(_left_out(patcher.model, name, missing, len(adapter.pairs)))
    if acting or not isinstance(scale, float | int):
        condition = "in a mask" if acting else "under a scale that changes"
        warnings += _refuse_unpatched(adapter, name, condition)
        _hook(adapted, fitting, scale, acting)
    elif scale != 0:
        warnings += _patch(patcher, adapter, fitting, scale, name)
    return adapted, warnings


def _patch(
    patcher: Any, adapter: Adapter, fitting: dict[str, LowRank], scale: float, name: str
) -> list[str]:
    """Patch weights at a constant scale, and biases and norms where they are there; warnings."""
    patches: Any = {}
    for layer, pair in fitting.items():
        if layer in adapter.magnitudes:
            patch = DoraPatch(set(), (pair.down, pair.up, adapter.magnitudes[layer]))
        else:
            # (up, down, alpha, mid, dora, reshape): without alpha the factor is the scale itself.
            patch = LoRAAdapter(set(), (pair.up, pair.down, None, None, None, None))
        patches[f"{layer}.weight"] = patch
    here = dict(patcher.model.named_parameters())
    absent = []
    for key, vector in adapter.vectors.items():
        if key in here and here[key].shape == vector.shape:
            patches[key] = ("diff", (vector,))
        else:
            absent.append(key)
    patcher.add_patches(patches, scale)
    return [_left_out(patcher.model, name, absent, len(adapter.vectors))] if absent else []


def _left_out(motion: Any, name: str, missing: list[str], count: int) -> str:
    return (
        f"{name}: {len(missing)} of {count} layers are not in"
        f" {motion.file_name} and are left out: {', '.join(missing)}"
    )


def _refuse_unpatched(adapter: Adapter, name: str, condition: str) -> list[str]:
    """A warning of what hooks leave out; raises UserError for what they cannot do at all."""
    if adapter.magnitudes:
        raise UserError(
            name, f"a DoRA {condition}",
            "a LoRA, which adds to the layers, or one scale everywhere",
            "Take off what is connected to scale_schedule and mask, and set the slider.",
        )  # fmt: skip  # file, found, expected, next move
    if not adapter.vectors:
        return []
    return [
        f"{name}: {condition} its {len(adapter.vectors)} changes of biases and norms are left out."
        " With the slider alone they are used."
    ]


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


def _hook(model: ModelPatcher, pairs: dict[str, LowRank], scale: Scale, mask: Mask | None) -> None:
    """Add the pairs beside their layers, at the scale of each step, frame and place."""
    key = hooks.unused_key(model, KEY)

    def register(call: Call) -> list[Any]:
        now = scale_of_call(scale, call, mask)
        patcher = motion_patcher(call.base.current_patcher)
        if now is None or call.frames == 1 or patcher is None:
            return []
        here = pairs_in(call.base.current_patcher, key)
        return hooks.hook_layers(
            patcher.model, {layer: _beside(pair, now) for layer, pair in here.items()}
        )

    carry_pairs(model, key, pairs, precision(model))
    hooks.add_scoped_hooks(model, key, register)


def _beside(pair: nn.Module, scale: CallScale):
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + scale.on_tracks(pair(inputs[0]))

    return hook
