"""Networks that a MODEL carries beside its own: a motion module, pairs that run while sampling.

Each has a patcher of its own among the MODEL's additional models, so that ComfyUI counts, loads,
offloads, clones and frees it as it does the MODEL: nothing is moved by hand in a step.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

KEY = "still_moving.companions"
OURS = "still_moving."  # what the keys of our additional models begin with

# (device, disable_dynamic) -> a patcher of a new copy of the network, without patches.
Build = Callable[..., ModelPatcher]


def patcher_class(disable_dynamic: bool = False) -> type[ModelPatcher]:
    """The kind of patcher that this ComfyUI uses now; under dynamic VRAM it is another one."""
    if disable_dynamic:
        return ModelPatcher
    return getattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcher)


def offload_device(device: torch.device) -> torch.device:
    """Where a network waits that runs on `device`: there, too, where ComfyUI offloads nothing."""
    offload = comfy.model_management.unet_offload_device()
    return offload if offload.type == "cpu" else device


def companion(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    rebuild: tuple[Build, tuple[Any, ...]],
    device: torch.device,
    disable_dynamic: bool = False,
) -> ModelPatcher:
    """A patcher for a network on the offload device, as ComfyUI's loaders make theirs.

    tensors: its whole state dict. rebuild: (function, arguments) that make a copy of it; called
    with device and disable_dynamic by name.
    """
    patcher = patcher_class(disable_dynamic)(network, device, offload_device(device))
    # Under dynamic VRAM parameters are taken over; else they are copied.
    is_dynamic = getattr(patcher, "is_dynamic", lambda: False)()
    network.load_state_dict(tensors, strict=True, assign=is_dynamic)
    network.requires_grad_(False).eval()
    if hasattr(patcher, "cached_patcher_init"):
        # Another GPU's copy, or one without dynamic VRAM.
        patcher.cached_patcher_init = rebuild
    return patcher


def carry(model: ModelPatcher, key: str, patcher: ModelPatcher) -> None:
    """Have a MODEL carry a network under a key of ours."""
    model.set_additional_models(key, [patcher])
    model.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _follow)


def carried(model: ModelPatcher, key: str) -> ModelPatcher | None:
    """The patcher of the network that a MODEL carries under a key, None where there is none."""
    patchers = model.get_additional_models_with_key(key)
    return patchers[0] if patchers else None


def _follow(executor: Any, model: ModelPatcher, *rest: Any, **named: Any) -> Any:
    """Before sampling, have our networks where the MODEL is: it may have been sent elsewhere since.

    ComfyUI takes them along to another GPU, but not to the CPU, where dynamic VRAM has no patches.
    """
    for key, patchers in model.additional_models.items():
        if key.startswith(OURS):
            model.additional_models[key] = [_beside(model, patcher) for patcher in patchers]
    return executor(model, *rest, **named)


def _beside(model: ModelPatcher, patcher: ModelPatcher) -> ModelPatcher:
    rebuild = getattr(patcher, "cached_patcher_init", None)
    if rebuild is None or patcher.load_device == model.load_device:
        return patcher
    moved = rebuild[0](*rebuild[1], device=model.load_device)
    moved.patches = {key: list(patches) for key, patches in patcher.patches.items()}
    moved.patches_uuid = uuid.uuid4()
    return moved
