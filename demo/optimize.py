"""How everything in the shapes world is trained: batches, the weighted loss, AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ..training.network.unet import SCHEDULE
from ..worlds.shapes import latents
from . import world

CAPTION_DROPOUT = 0.1


def optimize(
    model: nn.Module,
    losses: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    ema: float = 0.998,
    label: str,
) -> AveragedModel:
    """Minimize with AdamW (100 steps of warm-up, cosine decay); returns the moving average."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=lr, weight_decay=1e-3)

    def shape(step: int) -> float:
        return min((step + 1) / 100, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema))
    smooth = None
    bar = tqdm(range(steps), desc=label, mininterval=5)
    for _ in bar:
        loss = losses()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        average.update_parameters(model)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    return average


def stills(per_scene: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents (n, 4, 16, 16) and text (n, tokens, dim) of every scene, several times each."""
    scenes = [s for s in world.all_scenes() for _ in range(per_scene)]
    images = torch.stack([world.make_still(s, generator) for s in scenes])
    text = torch.stack([latents.encode_prompt(s.prompt) for s in scenes])
    return latents.encode_world(images), text


def batches(
    data: tuple[Tensor, Tensor], size: int, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless random batches, some captions dropped."""
    clean, text = data
    while True:
        pick = torch.randint(len(clean), (size,), generator=generator)
        keep = torch.rand(size, generator=generator) >= CAPTION_DROPOUT
        yield (
            clean[pick].to(device),
            (text[pick] * keep[:, None, None]).to(device),
        )


def weighted_loss(
    predict_noise: Callable[[Tensor, Tensor, Tensor], Tensor],
    stream: Iterator[tuple[Tensor, Tensor]],
    generator: torch.Generator,
    early: float = 0.0,
) -> Callable[[], Tensor]:
    """Epsilon prediction on a stream, as a function that draws the next batch.

    early: share of the timesteps that is drawn from the noisier half. Where things are, and how
    bright the background is, is decided at high noise, where an error of epsilon is small but the
    error of the picture it implies is large. Weighting by the root of noise over signal gives
    those timesteps their share.
    """
    scheduler = DDPMScheduler(**SCHEDULE)
    kept = scheduler.alphas_cumprod
    weights = ((1 - kept) / kept).sqrt().clamp(0.3, 12)
    weights /= weights.mean()

    def loss() -> Tensor:
        clean, text = next(stream)
        t = torch.randint(1000, (len(clean),), generator=generator)
        is_early = torch.rand(len(clean), generator=generator) < early
        t = torch.where(is_early, 500 + t // 2, t)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = scheduler.add_noise(clean, noise, t.to(clean.device))  # type: ignore[arg-type]  # typed IntTensor there
        error = (predict_noise(noisy, t.to(clean.device), text) - noise).square()
        return (error.flatten(1).mean(1) * weights[t].to(clean.device)).mean()

    return loss


def image_loss(model: nn.Module, *arguments) -> Callable[[], Tensor]:
    return weighted_loss(lambda x, t, text: model(x, t, text).sample, *arguments)
