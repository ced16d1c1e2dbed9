"""A Spatial Adapter on any MODEL: merged into its weights, or run after its layers.

Still-Moving (arXiv:2407.08674) eq. 4. Merged is exact for a single layer and costs nothing per
step; run time serves masks, scales that change, quantized weights, and whole blocks, whose output
holds their input too.
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
from ..files.adapter import Adapter
from ..files.checkpoint import UNetWeights
from ..files.metadata import UNKNOWN
from ..files.quantized import widened
from ..files.spatial_lora import export_lora
from ..frame_scales import Scale
from ..low_rank import LowRank, merge_spatial
from . import hooks
from .calls import Call
from .fit import fit_layers, other_checkpoint, refuse_misfit
from .graphs import watch_patches
from .masks import Mask, where
from .motion_module import precision
from .pairs import carry_pairs, pairs_in
from .scales import CallScale, scale_of_call

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
        self.weights: Any = weights  # (down, up)

    def calculate_weight(  # type: ignore[override]  # named by what it is here
        self, weight, key, scale, strength_model, offset, function, *_rest, **_named
    ) -> Tensor:
        pair = LowRank(*(part.to(weight.device) for part in self.weights))
        # A bias is a weight of one column.
        columns = weight[:, None] if weight.ndim == 1 else weight
        merged, _ = merge_spatial(columns, None, pair, scale)
        return function(merged.reshape(weight.shape) - weight) + weight if function else merged


def apply_spatial_adapter(
    model: ModelPatcher,
    adapter: Adapter,
    scale: Scale,
    mode: Mode,
    name: str,
    mask: Tensor | None = None,
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL with the adapter at a scale, and warnings.

    adapter: kind "spatial"; name: its file, for messages; mode: "auto" merges where that is exact;
    mask: (height, width) or (count, height, width), where it acts.
    Raises UserError where a layer does not fit, or for "merged" where merging is impossible.
    """
    _refuse_misfit(model, adapter, name)
    adapted = model.clone()
    warnings = other_checkpoint(model, adapter.info, name)
    scale, acting = where(mask, scale)
    if scale == 0:
        return adapted, warnings
    if _at_run_time(model, adapter, scale, acting, mode, name):
        _hook(adapted, adapter.pairs, scale, acting)
    else:
        assert isinstance(scale, float | int)
        warnings += hooks.rounded(model, f"{name} with mode 'merged'")
        _merge(adapted, adapter.pairs, float(scale))
    return adapted, warnings


def _at_run_time(
    model: ModelPatcher, adapter: Adapter, scale: Scale, mask: Mask | None, mode: Mode, name: str
) -> bool:
    reason = None
    if mask is not None:
        reason = "a mask"
    elif not isinstance(scale, float | int):
        reason = "a scale that changes"
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
    return reason is not None or hooks.is_quantized(model)


def _merge(model: ModelPatcher, pairs: dict[str, LowRank], scale: float) -> None:
    weights = model.model.state_dict()
    patches: Any = {}
    for layer, pair in pairs.items():
        for leaf in ("weight", "bias"):
            if f"{hooks.UNET}{layer}.{leaf}" in weights:
                patch = SpatialPatch(set(), (pair.down, pair.up))
                patches[f"{hooks.UNET}{layer}.{leaf}"] = patch
    model.add_patches(patches, scale)
    watch_patches(model)
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


def _hook(model: ModelPatcher, pairs: dict[str, LowRank], scale: Scale, mask: Mask | None) -> None:
    key = hooks.unused_key(model, KEY)

    def register(call: Call) -> list[Any]:
        now = scale_of_call(scale, call, mask)
        if now is None:
            return []
        here = pairs_in(call.base.current_patcher, key)
        return hooks.hook_layers(
            call.base.diffusion_model, {layer: _after(pair, now) for layer, pair in here.items()}
        )

    carry_pairs(model, key, pairs, precision(model))
    hooks.add_scoped_hooks(model, key, register)


def _after(pair: nn.Module, scale: CallScale):
    def hook(layer: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        channel_dim = -1 if isinstance(layer, nn.Linear) else 1
        return output + scale.on_images(pair(output, channel_dim))

    return hook


def _refuse_misfit(model: ModelPatcher, adapter: Adapter, name: str) -> None:
    _, base = hooks.layout_of(model)
    unet: Any = model.get_model_object("diffusion_model")
    layers = {n: layer for n, layer in unet.named_modules() if n in adapter.pairs}
    refuse_misfit(
        fit_layers(
            {layer: pair.shape for layer, pair in adapter.pairs.items()},
            # The adapter maps what a layer writes: as many channels in as out.
            {name: (_channels(layer), _channels(layer)) for name, layer in layers.items()},
        ),
        name,
        f"layers of the connected model ({base}; the adapter is for {adapter.info.base})",
        "Load the checkpoint that the adapter was trained for.",
    )


def _channels(layer: Any) -> int:
    """How many channels a layer or a block writes."""
    if not hasattr(layer, "weight"):  # a block: as many as its last layer
        layer = layer.out_layers[-1] if hasattr(layer, "out_layers") else layer.proj_out
    return layer.weight.shape[0]


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
        widened("model", hooks.unpatched_unet(model)),
        layout,
        base,
        UNKNOWN,
        adapter.info.checkpoint_name or UNKNOWN,
    )
    export_lora(adapter, unet, path, scale)
