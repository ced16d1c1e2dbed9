"""Clips from the training network: DDIM on AnimateDiff's schedule, with CFG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler, UNetMotionModel
from torch import Tensor

from .model import SCHEDULE, predict

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # (noisy, timesteps, text) -> noise


def draw_starts(seeds: Sequence[int], size: tuple[int, ...]) -> Tensor:
    """Standard normal start latents (n, *size), one seed each, the same on every machine."""
    return torch.stack(
        [torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


@torch.no_grad()
def denoise(
    network: Predict,
    start: Tensor,
    text: Tensor,
    unconditional: Tensor,
    *,
    steps: int = 20,
    cfg: float = 2.0,
) -> Tensor:
    """From noise to latents with any network that predicts epsilon.

    start: (n, ...); text: (n, tokens, dim); unconditional: (tokens, dim). At cfg 1 the
    unconditional half is not computed. Returns the shape of ``start``.
    """
    scheduler = DDIMScheduler(
        **SCHEDULE, clip_sample=False, set_alpha_to_one=False, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(steps)
    guided = cfg != 1
    both = torch.cat([unconditional.expand_as(text), text]) if guided else text
    x = start
    for t in scheduler.timesteps:
        batch = torch.cat([x, x]) if guided else x
        noise = network(batch, t.expand(len(batch)).to(x.device), both)
        if guided:
            plain, asked = noise.chunk(2)
            noise = plain + cfg * (asked - plain)
        x = scheduler.step(noise, int(t), x).prev_sample
    return x


def sample_clips(
    unet: UNetMotionModel,
    text: Tensor,
    unconditional: Tensor,
    *,
    seeds: Sequence[int],
    size: tuple[int, int, int, int],
    steps: int = 20,
    cfg: float = 2.0,
) -> Tensor:
    """Latent clips, one a prompt; the same seed gives the same noise for every network.

    text: (n, tokens, dim); unconditional: (tokens, dim); size: (channels, frames, height, width)
    in latents. Returns (n, channels, frames, height, width), fp32 on the CPU.
    """
    parameter = next(unet.parameters())
    device, dtype = parameter.device, parameter.dtype

    def network(noisy: Tensor, timesteps: Tensor, words: Tensor) -> Tensor:
        return predict(unet, noisy.to(dtype), timesteps, words.to(dtype)).float()

    start = draw_starts(seeds, size).to(device)
    text, unconditional = text.to(device), unconditional.to(device)
    return denoise(network, start, text, unconditional, steps=steps, cfg=cfg).cpu()
