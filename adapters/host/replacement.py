"""Weights that take the place of a model's own, whole or in part, below all that is added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor


def replace_weights(patcher: ModelPatcher, tensors: Mapping[str, Tensor], amount: float) -> None:
    """Patch weights to (1 - amount) * their own + amount * the given ones, by the model's keys.

    LoRAs stay whole, wherever their loader stands: what one adds is added to the mixture, and
    never scaled away by it.
    """
    kind = "set" if amount == 1 else "diff"
    patches: dict[str, Any] = {key: (kind, (tensor,)) for key, tensor in tensors.items()}
    patcher.add_patches(patches, amount, 1.0 - amount)
    for key in patches:
        *others, replacement = patcher.patches[key]
        patcher.patches[key] = [replacement, *others]
