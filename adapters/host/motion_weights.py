"""Motion weights in a MODEL: differences as weight patches, at an amount.

The motion module's patches go to its own patcher, those of the image model's cross-attention to the
MODEL's: ComfyUI puts both in before sampling and takes both out with the models.
"""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...common.errors import UserError
from ..files.motion_weights import Form, MotionWeights
from . import hooks
from .motion_adapter import other_module
from .motion_module import motion_patcher

# ((kind, (tensor,)), its factor, the factor of the weight below it)
Patch = tuple[tuple[str, tuple[Tensor]], float, float]


def apply_to_model(
    model: ModelPatcher, weights: MotionWeights, amount: float, name: str
) -> tuple[ModelPatcher, list[str]]:
    """A clone of a MODEL that moves as the weights were taught, at an amount, and warnings.

    At 0 nothing is patched; at 1 each layer is the trained one; between them the straight line.
    LoRAs on the same layers stay whole. name: the weights' file, for messages. Raises UserError
    for a MODEL without a motion module, and for weights of another network.
    """
    moved = model.clone()
    patcher = motion_patcher(moved)
    if patcher is None:
        raise UserError(
            name,
            "a model without a motion module",
            "one with a motion module",
            "Put Apply Motion Module before Apply Motion Weights.",
        )
    motion, image = weights.part(temporal=True), weights.part(temporal=False)
    base = hooks.layout_of(model)[1]
    network: dict[str, Tensor] = {**hooks.unpatched_unet(model), **patcher.model.state_dict()}
    _refuse_misfit(network, weights, patcher.model, base, name)
    if amount != 0:
        _patch(patcher, motion, amount, weights.info.form)
        _patch(moved, {f"{hooks.UNET}{n}": t for n, t in image.items()}, amount, weights.info.form)
    advice = "the motion may break. Load the one it was trained on."
    return moved, other_module(patcher.model, weights.info, name, advice)


def _patch(patcher: ModelPatcher, learned: dict[str, Tensor], amount: float, form: Form) -> None:
    for key, tensor in learned.items():
        patch, factor, below = _as_patch(tensor, amount, form)
        patcher.add_patches({key: patch}, factor, below)  # type: ignore[dict-item]
        if form == "whole":
            # It replaces, so it goes below: what a LoRA adds is never scaled away by it.
            listed = patcher.patches[key]
            patcher.patches[key] = [listed[-1], *listed[:-1]]


def _as_patch(tensor: Tensor, amount: float, form: Form) -> Patch:
    if form == "difference":
        return ("diff", (tensor,)), amount, 1.0
    if amount == 1:
        return ("set", (tensor,)), 1.0, 1.0
    return ("diff", (tensor,)), amount, 1.0 - amount


def _refuse_misfit(
    network: dict[str, Tensor], weights: MotionWeights, motion: nn.Module, base: str, name: str
) -> None:
    """Every layer is wanted: a part of what was learned together is not the motion."""
    missing = [n for n in weights.tensors if n not in network]
    wrong = [n for n, t in weights.tensors.items() if n not in missing and not _fits(t, network[n])]
    if not missing and not wrong:
        return
    found = f"{len(missing)} of {len(weights.tensors)} layers not there, first {missing[:1]}"
    if not missing:
        found = f"{len(wrong)} layers of another size, first {wrong[:1]}"
    info = weights.info
    raise UserError(
        name,
        found,
        f"the layers of {motion.file_name} and its model ({base})",
        f"They were trained on {info.motion_module_name} ({info.base}): load that motion module.",
    )


def _fits(learned: Tensor, weight: Tensor) -> bool:
    return learned.shape == weight.shape
