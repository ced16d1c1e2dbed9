"""Clips from the training network, on AnimateDiff's schedule, with CFG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler, UNetMotionModel
from torch import Tensor

from .unet import SCHEDULE, Schedule, predict

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # (noisy, timesteps, text) -> noise or v


@torch.no_grad()
def denoise(
    network: Predict,
    text: Tensor,
    unconditional: Tensor,
    *,
    seeds: Sequence[int],
    size: tuple[int, ...],
    steps: int = 20,
    cfg: float = 2.0,
    schedule: Schedule = SCHEDULE,
) -> Tensor:
    """From noise to latents with any network: DDIM with eta 1.

    The fresh noise of eta 1 keeps the noise in x at the level that the timestep says; a small
    network's errors otherwise add up to grain. Each sample's noise comes from its own seed, so
    it does not depend on the others, and is drawn on the CPU, so it is the same everywhere.

    text: (n, tokens, dim), on the device to use; unconditional: (tokens, dim); size: of one
    sample; schedule: says what the network predicts, epsilon unless given. At cfg 1 the
    unconditional half is not computed. Returns (n, *size), fp32.
    """
    # With trailing steps each step ends at the noise level where the next begins, and the last one
    # at none. With diffusers' "linspace" it does not: a perfect network would leave grain.
    scheduler = DDIMScheduler(**schedule, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        return torch.stack([torch.randn(size, generator=g) for g in generators]).to(text.device)

    # From pure noise, diffusers takes the root of what eta 1 leaves: nothing, or just below it.
    eta = 0.999 if schedule.get("rescale_betas_zero_snr") else 1.0
    guided = cfg != 1
    both = torch.cat([unconditional.expand_as(text), text]) if guided else text
    x = draw()
    for t in scheduler.timesteps:
        batch = torch.cat([x, x]) if guided else x
        noise = network(batch, t.expand(len(batch)).to(x.device), both)
        if guided:
            plain, prompted = noise.chunk(2)
            noise = plain + cfg * (prompted - plain)
        x = scheduler.step(noise, int(t), x, eta=eta, variance_noise=draw(), return_dict=False)[0]
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

    def network(noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return predict(unet, noisy.to(dtype), timesteps, text.to(dtype)).float()

    text, unconditional = text.to(device), unconditional.to(device)
    return denoise(network, text, unconditional, seeds=seeds, size=size, steps=steps, cfg=cfg).cpu()
