"""How a world's networks are trained: batches, the weighted loss, AdamW."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ..common import files
from ..common.atomic import atomic_path
from ..training.network.unet import SCHEDULE

CAPTION_DROPOUT = 0.1
_WARM_UP = 100  # steps


@dataclass
class Keep:
    """A long training's place on disk, from which it goes on after it was cut.

    generators: all that its losses draw from. minutes: of work over all its runs, at most; the
    learning rate falls so that it ends with them.
    """

    path: Path
    generators: tuple[torch.Generator, ...]
    minutes: float = math.inf
    every_s: float = 120.0
    seconds: float = field(default=0.0, init=False)
    _saved: float = field(default=0.0, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    def load(self, parts: dict[str, Any]) -> int:
        """Put a kept state into its parts; returns the steps that it has taken."""
        if not self.path.exists():
            return 0
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        for generator, state in zip(self.generators, kept["generators"], strict=True):
            generator.set_state(state)
        self.seconds = self._saved = kept["seconds"]
        return kept["step"]

    def tick(self) -> None:
        now = time.monotonic()
        self.seconds, self._began = self.seconds + now - self._began, now

    def save(self, parts: dict[str, Any], step: int, now: bool = False) -> None:
        if not now and self.seconds - self._saved < self.every_s:
            return
        self._saved = self.seconds
        states = {name: part.state_dict() for name, part in parts.items()}
        drawn = [generator.get_state() for generator in self.generators]
        files.make_folder(self.path.parent)
        with atomic_path(self.path) as temporary:
            kept = {"step": step, "seconds": self.seconds, "generators": drawn}
            torch.save(states | kept, temporary)

    @property
    def share(self) -> float:
        """Of the minutes, that are gone."""
        return self.seconds / 60 / self.minutes


def optimize(
    model: nn.Module,
    losses: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    ema: float = 0.998,
    label: str,
    keep: Keep | None = None,
) -> AveragedModel:
    """Minimize with AdamW (100 steps of warm-up, cosine decay); returns the moving average.

    keep: where a long training is kept, to go on when it was cut.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=lr, weight_decay=1e-3)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema))
    parts = {"model": model, "average": average, "optimizer": optimizer}
    begin = keep.load(parts) if keep else 0
    smooth = None
    bar = tqdm(range(begin, steps), desc=label, mininterval=5, initial=begin, total=steps)
    for step in bar:
        done = max(step / steps, keep.share if keep else 0.0)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / _WARM_UP, 0.5 + 0.5 * math.cos(math.pi * done))
        loss = losses()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(model)
        if keep:
            keep.tick()
            keep.save(parts, step + 1, now=step + 1 == steps)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    return average


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
