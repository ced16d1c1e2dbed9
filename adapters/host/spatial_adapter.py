"""A Spatial Adapter on any MODEL: merged into its weights, or run after its layers.

Still-Moving (arXiv:2407.08674) eq. 4. Merged is exact for a single layer and costs nothing per
step; run time serves scales that change, quantized weights, and whole blocks, whose output holds
their input too.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Literal

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor, nn

from ...common.errors import UserError
from ..files.adapter import UNKNOWN, Adapter
from ..files.checkpoint import UNetWeights
from ..files.spatial_lora import export_lora
from ..low_rank import LowRank, apply_spatial, merge_spatial
from ..scale_schedule import ScaleSchedule
from . import hooks

KEY = "still_moving.spatial_adapter"
LAST = "still_moving.spatial_adapter_last"
BLOCKS = "blocks"
Mode = Literal["auto", "merged", "runtime"]
MODES: tuple[Mode, ...] = ("auto", "merged", "runtime")


class SpatialPatch(WeightAdapterBase):
    """W' = W + s U(D W), b' = b + s U(D b), as a patch of a weight or of a bias.

    Under dynamic VRAM ComfyUI makes it anew from (loaded_keys, weights), so all it knows is there.
    """

    name = "still_moving_spatial"

    def __init__(self, loaded_keys: set[str], weights: tuple[Tensor, Tensor]) -> None:
        self.loaded_keys = loaded_keys
        self.weights = weights  # type: ignore[assignment]  # (down, up)

    def calculate_weight(  # type: ignore[override]
        self, weight, key, strength, strength_model, offset, function, *_rest, **_named
    ) -> Tensor:
        pair = LowRank(*(part.to(weight.device) for part in self.weights))
        # A bias is a weight of one column.
        columns = weight[:, None] if weight.ndim == 1 else weight
        merged, _ = merge_spatial(columns, None, pair, strength)
        return function(merged.reshape(weight.shape) - weight) + weight if function else merged


def apply_spatial_adapter(
    model: ModelPatcher,
    adapter: Adapter,
    scale: float | ScaleSchedule,
    mode: Mode,
    name: str,
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL with the adapter at a scale, and warnings.

    adapter: kind "spatial"; name: its file, for messages; mode: "auto" merges where that is exact.
    Raises UserError where a layer does not fit, or for "merged" where merging is impossible.
    """
    _refuse_misfit(model, adapter, name)
    adapted = model.clone()
    warnings = _mismatch(model, adapter, name)
    if isinstance(scale, float | int) and scale == 0:
        return adapted, warnings
    if _at_run_time(model, adapter, scale, mode, name):
        _hook(adapted, adapter.pairs, scale)
    else:
        assert not isinstance(scale, ScaleSchedule)
        _merge(adapted, adapter.pairs, float(scale))
    return adapted, warnings


def _at_run_time(
    model: ModelPatcher, adapter: Adapter, scale: float | ScaleSchedule, mode: Mode, name: str
) -> bool:
    reason = None
    if isinstance(scale, ScaleSchedule):
        reason = "a scale schedule"
    elif adapter.info.sites == BLOCKS:
        reason = "an adapter of whole blocks"
    if mode == "merged" and reason:
        raise UserError(
            name,
            f"{reason} with mode 'merged'",
            "mode 'auto' or 'runtime', because this cannot be merged into weights",
            "Set mode to 'auto'.",
        )
    if mode != "auto":
        return mode == "runtime"
    return reason is not None or is_quantized(model)


def is_quantized(model: ModelPatcher) -> bool:
    """Whether merging would round: weights of 8 bits or fewer, or of a quantized layout."""
    weight = model.get_model_object("diffusion_model.input_blocks.1.0.in_layers.2.weight")
    return weight.dtype.itemsize < 2 or type(weight).__name__ == "QuantizedTensor"


def _merge(model: ModelPatcher, pairs: dict[str, LowRank], scale: float) -> None:
    weights = model.model.state_dict()
    patches: Any = {}
    for layer, pair in pairs.items():
        for leaf in ("weight", "bias"):
            if f"{hooks.UNET}{layer}.{leaf}" in weights:
                patch = SpatialPatch(set(), (pair.down, pair.up))
                patches[f"{hooks.UNET}{layer}.{leaf}"] = patch
    model.add_patches(patches, scale)
    model.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, LAST)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, LAST, _adapters_last)


def _adapters_last(executor, model: ModelPatcher, *rest, **named):
    """Before sampling, move our patches behind every LoRA's: the adapter is for the sum of them."""
    if move_last(model.patches):
        model.patches_uuid = uuid.uuid4()
    return executor(model, *rest, **named)


def move_last(patches: dict[str, list[Any]]) -> bool:
    """Reorder each key's patches, ours last, else as they were; whether anything moved."""
    moved = False
    for key, listed in patches.items():
        ordered = sorted(listed, key=lambda patch: isinstance(patch[1], SpatialPatch))
        if any(a is not b for a, b in zip(ordered, listed, strict=True)):
            patches[key], moved = ordered, True
    return moved


def _hook(model: ModelPatcher, pairs: dict[str, LowRank], scale: float | ScaleSchedule) -> None:
    def register(base: Any, _frames: int, sigmas: Tensor) -> list[Any]:
        now = scale
        if isinstance(now, ScaleSchedule):
            now = now.at(hooks.progress_of(base, sigmas))
        if now == 0:
            return []
        return [
            hooks.submodule(base.diffusion_model, layer).register_forward_hook(_after(pair, now))
            for layer, pair in pairs.items()
        ]

    hooks.add_scoped_hooks(model, hooks.unused_key(model, KEY), register)


def _after(pair: LowRank, scale: float):
    def hook(layer: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        channel_dim = -1 if isinstance(layer, nn.Linear) else 1
        return apply_spatial(output, pair, scale, channel_dim)

    return hook


def _refuse_misfit(model: ModelPatcher, adapter: Adapter, name: str) -> None:
    _, base = hooks.layout_of(model)
    unet: Any = model.get_model_object("diffusion_model")
    modules = dict(unet.named_modules())
    missing = [layer for layer in adapter.pairs if layer not in modules]
    found = f"{len(missing)} of {len(adapter.pairs)} layers that are not there, first {missing[:1]}"
    if not missing:
        wrong = [k for k, p in adapter.pairs.items() if not _fits(modules[k], p)]
        found = f"{len(wrong)} layers of another size, first {wrong[:1]}"
        if not wrong:
            return
    raise UserError(
        name,
        found,
        f"layers of the connected model ({base}; the adapter is for {adapter.info.base})",
        "Load the checkpoint that the adapter was trained for.",
    )


def _fits(layer: nn.Module, pair: LowRank) -> bool:
    weight = getattr(layer, "weight", None)
    if weight is None:  # a block: as many channels as its last layer writes
        last = layer.out_layers[-1] if hasattr(layer, "out_layers") else layer.proj_out  # type: ignore
        weight = last.weight  # type: ignore[union-attr]
    return weight.shape[0] == pair.up.shape[0] == pair.down.shape[1]  # type: ignore[union-attr]


def _mismatch(model: ModelPatcher, adapter: Adapter, name: str) -> list[str]:
    """A warning when the connected checkpoint is another one than the adapter's."""
    trained, here = adapter.info.fingerprint, hooks.fingerprint_of(model)
    if trained == UNKNOWN or here in (None, trained):
        return []
    return [
        f"{name} was trained for the checkpoint {adapter.info.checkpoint_name}, another one is"
        " connected: its look may suffer. Load that checkpoint, or train a Spatial Adapter for"
        " this one."
    ]


def export_spatial_adapter(
    model: ModelPatcher, adapter: Adapter, path: Path, scale: float, name: str
) -> None:
    """Write an adapter as a plain LoRA file for the MODEL's checkpoint (its patches left out).

    Raises UserError where a layer does not fit, for an adapter of whole blocks, or where the file
    cannot be written.
    """
    _refuse_misfit(model, adapter, name)
    layout, base = hooks.layout_of(model)
    unet = UNetWeights(
        hooks.unpatched_unet(model), layout, base, UNKNOWN, adapter.info.checkpoint_name or UNKNOWN
    )
    export_lora(adapter, unet, path, scale)
