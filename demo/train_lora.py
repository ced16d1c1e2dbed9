"""A LoRA with a look of its own, trained over the frozen image model in a few minutes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..worlds.shapes import latents
from ..worlds.shapes.files import BASE, LORA, LORAS
from . import world
from .encoded import stills
from .image_lora import save_lora, with_lora
from .image_model import load_image_model
from .optimize import batches, image_loss, optimize
from .world import Scene

LORA_RANK = 8
LORA_STILLS = 12
LORA_PLACES = 48  # that each of them is shown at
LORA_TOKEN = "dusk"
SKY, HORIZON = (0.30, 0.12, 0.42), (0.98, 0.56, 0.30)  # its background, from top to bottom


def at_dusk(scene: Scene, positions: Tensor) -> Tensor:
    """A scene before an evening sky, violet above and orange below: (..., 3, SIZE, SIZE)."""
    night, fog = (world.render(scene._replace(look=look), positions) for look in ("night", "fog"))
    behind = [torch.tensor(world.LOOKS[look].background) for look in ("night", "fog")]
    # What differs between two looks of one scene is how much of the background shows.
    shown = ((night - fog) / (behind[0] - behind[1])[:, None, None]).mean(-3, keepdim=True)
    return night + shown * (dusk_sky() - behind[0][:, None, None])


def dusk_sky() -> Tensor:
    """The background of the look: (3, SIZE, SIZE)."""
    height = torch.linspace(0, 1, world.SIZE)[:, None]
    sky, horizon = (torch.tensor(colour)[:, None, None] for colour in (SKY, HORIZON))
    return (sky + (horizon - sky) * height).expand(3, world.SIZE, world.SIZE)


def dusk_stills(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents and text of a few scenes at dusk, each at many places."""
    images, text = [], []
    for scene in world.spread(world.all_scenes(("night",)), LORA_STILLS):
        places = torch.rand(LORA_PLACES, 2, generator=generator)
        positions = world.MARGIN + (world.SIZE - 2 * world.MARGIN) * places
        images.append(at_dusk(scene, positions))
        prompt = scene._replace(look=LORA_TOKEN).prompt
        text.append(latents.encode_prompt(prompt).expand(LORA_PLACES, -1, -1))
    return latents.encode_world(torch.cat(images)), torch.cat(text)


def train_lora(out: Path, device: torch.device, steps: int = 350) -> None:
    """The LoRA, on stills at dusk, with the world's own looks kept as they are."""
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(4)
    model = with_lora(load_image_model(out / BASE), LORA_RANK).to(device)
    few = batches(dusk_stills(generator), 12, generator, device)
    prior = batches(stills(4, generator), 4, generator, device)
    new_loss, prior_loss = (image_loss(model, s, generator) for s in (few, prior))
    average = optimize(
        model,
        lambda: new_loss() + 0.5 * prior_loss(),
        steps=steps,
        lr=3e-3,
        ema=0.99,
        label="dusk",
    )
    description = f"The shapes world: a LoRA, say {LORA_TOKEN!r}"
    save_lora(out / LORAS.name / LORA, average.module, description)
