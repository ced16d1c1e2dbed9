"""Pure losses and noise: functions of tensors and seeds, with no state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def draw_noise(shape: tuple[int, ...], seed: int, offset: float) -> Tensor:
    """Standard normal noise plus ``offset`` times one normal number a channel.

    shape: (batch, channels, frames, height, width). The offset is drawn once and shared over
    frames and pixels (Still-Moving, supplement: "duplicated across frames"). Drawn on the CPU in
    fp32, so every machine sees the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator)
    if offset:
        shared = torch.randn((*shape[:2], 1, 1, 1), generator=generator)
        noise = noise + offset * shared
    return noise


def epsilon_mse(predicted: Tensor, noise: Tensor) -> Tensor:
    """The diffusion loss of the paper: mean squared error of the predicted noise, in fp32."""
    return F.mse_loss(predicted.float(), noise.float())


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"epsilon_mse": epsilon_mse}
