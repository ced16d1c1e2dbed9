"""AdamW, with its state allocated before a step needs it and kept by the parameters' names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..recipes.recipe import Recipe, Stage
from .trainable import Trainable


def new_adamw(trainable: Trainable, recipe: Recipe, stage: Stage) -> torch.optim.Optimizer:
    """AdamW with its state; fused, the device itself can tell it to change nothing."""
    made = torch.optim.AdamW(
        trainable.groups(), lr=stage.lr, weight_decay=recipe.weight_decay, fused=True
    )
    make_state(made)
    return made


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, as tensors that safetensors can hold."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[index]}:{key}": value
        for index, entry in state.items()
        for key, value in entry.items()
    }


def new_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Of the loss, in fp16 alone: there small gradients would vanish."""
    fp16 = dtype == torch.float16
    return torch.amp.GradScaler(device.type, enabled=fp16, init_scale=2.0**14)


def renewed(scaler: torch.amp.GradScaler, device: torch.device) -> torch.amp.GradScaler:
    """One of the same scale that knows of no step and has nothing on the device."""
    if not scaler.is_enabled():
        return scaler
    new = torch.amp.GradScaler(device.type)
    new.load_state_dict(scaler.state_dict())
    return new


def restore_scaler(scaler: torch.amp.GradScaler, saved: dict[str, Any]) -> None:
    """Take up a loss scale; a run in another number format had none, and then it begins anew."""
    if saved:
        scaler.load_state_dict(saved)


def make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let a fused AdamW allocate its state now, by a step that changes nothing.

    Left to the first step, a full card would leave half of one done. Kernels are loaded, too.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.found_inf = torch.ones((), device=parameters[0].device)  # type: ignore[attr-defined]  # what GradScaler sets
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]  # no tensor outlives what it was for
    optimizer.zero_grad(set_to_none=True)


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]
) -> None:
    """Inverse of ``optimizer_tensors``, into the state that ``make_state`` has allocated."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        for part, value in optimizer.state[parameter].items():
            saved = tensors.get(f"{name}:{part}")
            if saved is None:  # no step had touched it
                value.zero_()
            else:
                value.copy_(saved)


def move_optimizer(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move a fused AdamW's state, in place.

    Its counts of steps as well: a number that stays on a card keeps a block of memory there.
    """
    for entry in optimizer.state.values():
        for name, value in entry.items():
            entry[name] = value.to(device)
