"""Motion weights in a MODEL: differences as weight patches, at an amount.

The motion module's patches go to its own patcher, those of the image model's cross-attention to the
MODEL's: ComfyUI puts both in before sampling and takes both out with the models.
"""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..files.motion_weights import Form, MotionWeights
from . import hooks
from .fit import fit_layers, other_module, refuse_misfit
from .graphs import watch_patches
from .motion_module import required_motion_patcher
from .replacement import replace_weights


def apply_to_model(
    model: ModelPatcher, weights: MotionWeights, amount: float, name: str
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL that moves as the weights were taught, at an amount, and warnings.

    At 0 nothing is patched; at 1 each layer is the trained one; between them the straight line.
    LoRAs on the same layers stay whole. name: the weights' file, for messages. Raises UserError
    for a MODEL without a motion module, and for weights of another network.
    """
    moved = model.clone()
    patcher = required_motion_patcher(moved, name, "Apply Motion Weights")
    _refuse_misfit(model, patcher, weights, name)
    warnings = []
    if amount != 0:
        image = {f"{hooks.UNET}{n}": t for n, t in weights.part(temporal=False).items()}
        _patch(patcher, weights.part(temporal=True), amount, weights.info.form)
        _patch(moved, image, amount, weights.info.form)
        watch_patches(moved)
        warnings = hooks.rounded(model, name) if image else []
    advice = "the motion may break. Load the one it was trained on."
    return moved, warnings + other_module(patcher.model, weights.info, name, advice)


def _patch(patcher: ModelPatcher, learned: dict[str, Tensor], amount: float, form: Form) -> None:
    if form == "whole":
        replace_weights(patcher, learned, amount)
    else:
        patches: dict[str, Any] = {key: ("diff", (tensor,)) for key, tensor in learned.items()}
        patcher.add_patches(patches, amount)


def _refuse_misfit(
    model: ModelPatcher, patcher: ModelPatcher, weights: MotionWeights, name: str
) -> None:
    """Every layer is wanted: a part of what was learned together is not the motion."""
    network = {**hooks.unpatched_unet(model), **patcher.model.state_dict()}
    fit = fit_layers(
        {layer: learned.shape for layer, learned in weights.tensors.items()},
        {layer: weight.shape for layer, weight in network.items()},
    )
    info, base = weights.info, hooks.layout_of(model)[1]
    refuse_misfit(
        fit,
        name,
        f"the layers of {patcher.model.file_name} and its model ({base})",
        f"They were trained on {info.motion_module_name} ({info.base}): load that motion module.",
    )
