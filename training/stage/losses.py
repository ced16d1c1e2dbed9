"""Pure losses and noise: functions of tensors and seeds, with no state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..recipes.recipe import Stage


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


@dataclass(frozen=True)
class Velocity:
    """What a network that predicts v is compared with, for one sample.

    target: v = sqrt(kept) noise - sqrt(1 - kept) clean, in fp32; noisy: what the network saw;
    kept: the timestep's share of signal.
    """

    target: Tensor
    noisy: Tensor
    kept: float

    def noise(self, predicted: Tensor) -> Tensor:
        """The noise that a predicted v means, in fp32."""
        return self.kept**0.5 * predicted.float() + (1 - self.kept) ** 0.5 * self.noisy.float()


def debiased_weights(kept: Tensor, of_velocity: bool = False) -> Tensor:
    """What a loss counts at each timestep: (timesteps,), 1 on average, in fp32.

    kept: shares of signal, (timesteps,). The root of noise over signal ("Debias the Training of
    Diffusion Models", arXiv:2310.08442), or of_velocity, for the plain loss of v, the share of
    noise; as in kohya's trainer, signal counts as at most 1000 times the noise.
    """
    kept = kept.float().clamp(1e-8, 1000 / 1001)  # a schedule may end in pure noise
    weights = 1 - kept if of_velocity else ((1 - kept) / kept).sqrt()
    return weights / weights.mean()


def epsilon_mse(predicted: Tensor, noise: Tensor) -> Tensor:
    """The diffusion loss of the paper: mean squared error of the predicted noise, in fp32."""
    return F.mse_loss(predicted.float(), noise.float())


def residuals(clips: Tensor) -> Tensor:
    """Differences of consecutive frames, in fp32: (batch, channels, frames - 1, height, width)."""
    wide = clips.float()
    return wide[:, :, 1:] - wide[:, :, :-1]


def residual_cosine(predicted: Tensor, noise: Tensor) -> Tensor:
    """1 - cosine of predicted and true residual, a whole frame as one vector; mean over frames.

    VMC (arXiv:2312.00845), eq. 17: 0 where all residuals point alike, 1 for independent noise, 2
    for opposite ones. It leaves the mean of the frames and the size of the noise free.
    """
    ours, true = (residuals(x).transpose(1, 2).flatten(2) for x in (predicted, noise))
    return (1 - F.cosine_similarity(ours, true, dim=-1)).mean()


def residual_official(predicted: Tensor, noise: Tensor) -> Tensor:
    """VMC's published code, for comparison: 1 - cosine of absolute residuals, along time.

    One vector a channel and pixel, over the frames. Absolute values cannot tell a motion from the
    same motion backward: a prediction of the opposite sign has loss 0.
    """
    ours, true = residuals(predicted).abs(), residuals(noise).abs()
    return (1 - F.cosine_similarity(ours, true, dim=2)).mean()


def residual_l2(predicted: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the residuals: VMC, eq. 16, as a mean over numbers.

    Without its factor (1 - a) / a of the timestep's kept share a, as in the noise loss of DDPM:
    the factor would weigh the noisiest timesteps 700,000 times the cleanest.
    """
    return F.mse_loss(residuals(predicted), residuals(noise))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "epsilon_mse": epsilon_mse,
    "residual_cosine": residual_cosine,
    "residual_official": residual_official,
    "residual_l2": residual_l2,
}


def stage_loss(
    stage: Stage, predicted: Tensor, noise: Tensor, velocity: Velocity | None = None
) -> Tensor:
    """The loss that a stage asks for, with its share of the plain diffusion loss.

    velocity: for a network that predicts v. The plain loss is then that of v, as diffusers' own
    trainers have it; those of residuals are of the noise that the prediction means.
    """
    plain = noise if velocity is None else velocity.target
    if stage.loss == "epsilon_mse":
        return epsilon_mse(predicted, plain)
    own = predicted if velocity is None else velocity.noise(predicted)
    loss = LOSSES[stage.loss](own, noise)
    if stage.mse_weight:
        loss = loss + stage.mse_weight * epsilon_mse(predicted, plain)
    return loss
