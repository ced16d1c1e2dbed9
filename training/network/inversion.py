"""DDIM inversion: from a clip to the noise that a deterministic sampler makes it from.

VMC (arXiv:2312.00845, section 3.3) starts generation there, so that new looks follow the frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNetMotionModel
from torch import Tensor

from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.motion_module import MotionModule
from ...adapters.files.motion_weights import MotionWeights, apply_motion_weights
from ...adapters.files.tensors import refuse_non_finite, write_tensors
from ...common.errors import UserError
from .unet import SCHEDULE, predict

Network = Callable[[Tensor, Tensor], Tensor]  # (noisy, timesteps) -> noise
KEY = "start_latents"


def levels(steps: int) -> tuple[list[int], list[float]]:
    """Timesteps, noisiest first, and the share of signal at each and at the clean end.

    The same as in ``sampling.denoise``: each step ends at the level where the next begins.
    """
    scheduler = DDIMScheduler(**SCHEDULE, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    times = [int(t) for t in scheduler.timesteps]
    return times, [float(scheduler.alphas_cumprod[t]) for t in times] + [1.0]


def move(x: Tensor, noise: Tensor, kept: float, to: float) -> Tensor:
    """One step of DDIM with eta 0, either way. kept, to: shares of signal before and after."""
    clean = (x - (1 - kept) ** 0.5 * noise) / kept**0.5
    return to**0.5 * clean + (1 - to) ** 0.5 * noise


@torch.no_grad()
def sample(network: Network, start: Tensor, steps: int) -> Tensor:
    """From start latents to a clip, deterministically. start: (n, ...), of unit variance."""
    times, kept = levels(steps)
    x = start.float()
    for i, t in enumerate(times):
        x = move(x, network(x, _at(t, x)), kept[i], kept[i + 1])
    return x


@torch.no_grad()
def invert(network: Network, clips: Tensor, steps: int, refine: int = 5) -> Tensor:
    """The start latents from which ``sample`` makes the clips, with the same network and steps.

    clips: (n, channels, frames, height, width). A step backward needs the noise that the network
    sees at its far end; plain inversion takes it at the near end (refine 0, and its error shows as
    drift). Here that is the first guess of ``refine`` fixed-point rounds, each a call of the
    network. Raises UserError when they run away, as with a network that was not trained.

    The result is of about unit variance at ``levels(steps)[0][0]``. A sampler that counts noise in
    sigmas, as ComfyUI's do, begins with it divided by the square root of ``levels(steps)[1][0]``.
    """
    times, kept = levels(steps)
    x = clips.float()
    for i in reversed(range(len(times))):
        t, near = _at(times[i], x), x
        for _ in range(1 + refine):
            x = move(near, network(x, t), kept[i + 1], kept[i])
        if not torch.isfinite(x).all():
            raise UserError(
                "inversion", f"no numbers at timestep {times[i]}", "finite latents",
                "Take fewer refining rounds, more steps, or another checkpoint.",
            )  # fmt: skip  # subject, found, expected, next move
    return x


def without_colours(start: Tensor) -> Tensor:
    """Start latents without the mean of each channel over the clip. start: (n, c, frames, h, w).

    SD's schedule never reaches pure noise (Lin et al., arXiv:2305.08891, section 3.1): the mean of
    what was inverted stays in it, and brings its colour and brightness to whatever is asked for.
    """
    return start - start.mean((2, 3, 4), keepdim=True)


def _at(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, device=x.device)


def network_of(unet: UNetMotionModel, text: Tensor, prediction: str = "epsilon") -> Network:
    """A UNet that reads one text for every clip, without CFG.

    text: (tokens, dim); prediction: what the UNet predicts, here always turned into noise.
    """
    kept = DDIMScheduler(**SCHEDULE).alphas_cumprod
    parameter = next(unet.parameters())
    encoded = text[None].to(parameter.device, parameter.dtype)

    def network(noisy: Tensor, timesteps: Tensor) -> Tensor:
        both = noisy.to(parameter.device, parameter.dtype), timesteps.to(parameter.device)
        predicted = predict(unet, *both, encoded.expand(len(noisy), -1, -1)).to(noisy)
        if prediction == "epsilon":
            return predicted
        share = kept[timesteps.cpu()].to(noisy)[:, None, None, None, None]
        return share**0.5 * predicted + (1 - share) ** 0.5 * noisy

    return network


def with_motion(
    weights: UNetWeights, motion: MotionModule, learned: MotionWeights, name: str
) -> tuple[UNetWeights, MotionModule]:
    """The files of a network with motion weights in them, whole; what they move is in fp32."""
    both = {**weights.tensors, **motion.tensors}
    both |= {n: both[n].float() for n in learned.tensors if n in both}
    moved = apply_motion_weights(both, learned, 1.0, name)
    return (
        replace(weights, tensors={n: moved[n] for n in weights.tensors}),
        replace(motion, tensors={n: moved[n] for n in motion.tensors}),
    )


def round_trip_error(network: Network, clips: Tensor, start: Tensor, steps: int) -> float:
    """Root mean square of what comes back minus the clip, relative to the clip's own."""
    back = sample(network, start, steps)
    return float((back - clips.float()).norm() / clips.float().norm())


def save_start(path: Path, start: Tensor, metadata: dict[str, str]) -> None:
    """start: (channels, frames, height, width), of about unit variance."""
    refuse_non_finite(path, {KEY: start})
    write_tensors(path, {KEY: start.float()}, metadata)
