"""How long a benchmark of a world will take on this machine, from a moment's measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from ...demo.evaluate import CFG, STEPS, Network
from ...demo.network import MotionNetwork
from ...training.network.unet import predict
from ...worlds.layout import LATENT_CHANNELS
from ...worlds.shapes.files import BASE, WEIGHTS

_TIMES = 3


class Work(NamedTuple):
    """What a part has to do."""

    samples: int = 0  # trained on
    clips: int = 0  # generated


def shapes_network(device: torch.device) -> MotionNetwork:
    return Network(WEIGHTS / BASE, device)


def seconds(work: Iterable[Work], network: MotionNetwork, device: torch.device) -> float:
    """Of one process, as fast as this one is now."""
    work = list(work)
    clip = _seconds_of(lambda: network.latents([""], [0], STEPS, CFG), device, 1)
    sample = _seconds_of(lambda: _train_a_sample(network, device), device, _TIMES)
    return sum(w.clips for w in work) * clip + sum(w.samples for w in work) * sample


def in_words(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _train_a_sample(network: MotionNetwork, device: torch.device) -> None:
    """Forward and backward as a step does them, through the whole network."""
    for name, parameter in network.unet.named_parameters():
        parameter.requires_grad_("motion_modules" in name and "to_q" in name)
    world = network.world
    noisy = torch.zeros(1, LATENT_CHANNELS, world.frames, world.size, world.size, device=device)
    text = world.words.encode("").to(device)[None]
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
