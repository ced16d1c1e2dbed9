"""The shapes world's rendered stills and clips as the networks read them: latents and text."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..worlds.shapes import latents
from . import world
from .optimize import batches


def stills(per_scene: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents (n, 4, 16, 16) and text (n, tokens, dim) of every scene, several times each."""
    scenes = [s for s in world.all_scenes() for _ in range(per_scene)]
    images = torch.stack([world.make_still(s, generator) for s in scenes])
    text = torch.stack([latents.encode_prompt(s.prompt) for s in scenes])
    return latents.encode_world(images), text


def clip_batches(
    count: int, size: int, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless random batches of natural clips: (size, 4, frames, 16, 16) and their text."""
    scenes = world.all_scenes()
    rendered = [(s, world.make_clip(s, generator).frames) for s in scenes for _ in range(count)]
    filmed = world.footage(torch.stack([frames for _, frames in rendered]))
    clips = latents.encode_world(filmed).transpose(1, 2)
    text = torch.stack([latents.encode_prompt(s.prompt) for s, _ in rendered])
    return batches((clips, text), size, generator, device)
