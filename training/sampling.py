"""Clips from the training network: DDIM on AnimateDiff's schedule, with CFG."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler, UNetMotionModel
from torch import Tensor

from .model import SCHEDULE, predict


@torch.no_grad()
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
    scheduler = DDIMScheduler(
        **SCHEDULE, clip_sample=False, set_alpha_to_one=False, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(steps)
    parameter = next(unet.parameters())
    device, dtype = parameter.device, parameter.dtype
    noise = [torch.randn(size, generator=torch.Generator().manual_seed(s)) for s in seeds]
    x = torch.stack(noise)
    both = torch.cat([unconditional.expand_as(text), text]).to(device, dtype)
    for t in scheduler.timesteps:
        batch = torch.cat([x, x]).to(device, dtype)
        when = t.expand(len(batch)).to(device)
        plain, asked = predict(unet, batch, when, both).float().cpu().chunk(2)
        x = scheduler.step(plain + cfg * (asked - plain), int(t), x).prev_sample
    return x
