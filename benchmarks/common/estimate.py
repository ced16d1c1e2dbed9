"""How long a benchmark of the shapes world will take on this machine, from a moment's measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from ...demo import world
from ...demo.evaluate import Network
from ...training.network.unet import predict
from ...worlds.shapes import latents
from ...worlds.shapes.files import BASE, WEIGHTS

_TIMES = 3


class Work(NamedTuple):
    """What a part has to do."""

    samples: int = 0  # trained on
    clips: int = 0  # generated


def seconds(work: Iterable[Work], device: torch.device) -> float:
    """Of one process, as fast as this one is now."""
    work = list(work)
    network = Network(WEIGHTS / BASE, device)
    clip = _seconds_of(lambda: network.frames([world.all_scenes()[0].prompt], [0]), device, 1)
    sample = _seconds_of(lambda: _train_a_sample(network, device), device, _TIMES)
    return sum(w.clips for w in work) * clip + sum(w.samples for w in work) * sample


def in_words(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _train_a_sample(network: Network, device: torch.device) -> None:
    """Forward and backward as a step does them, through the whole network."""
    for name, parameter in network.unet.named_parameters():
        parameter.requires_grad_("motion_modules" in name and "to_q" in name)
    noisy = torch.zeros(1, latents.CHANNELS, world.FRAMES, world.SIZE, world.SIZE, device=device)
    text = latents.encode_prompt("").to(device)[None]
    loss = predict(network.unet, noisy, torch.tensor([500], device=device), text).square().mean()
    loss.backward()


def _seconds_of(action: Callable[[], object], device: torch.device, times: int) -> float:
    action()
    started = time.perf_counter()
    for _ in range(times):
        action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / times
