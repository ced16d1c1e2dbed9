"""Train the shapes world from nothing: text-to-image, then motion, then a customized checkpoint.

Each stage starts from the files of the stage before and writes one file into
``worlds/shapes/weights``; CONTRIBUTING.md says how long it takes. As in AnimateDiff, the motion
module is trained over the frozen image model, on its own noise schedule, with its norm taken per
frame.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..adapters.files.checkpoint import read_unet
from ..common import files
from ..training.checks.device import pick_device
from ..training.network.unet import build_unet, predict
from ..worlds.known import SHAPES
from ..worlds.shapes import latents
from ..worlds.shapes.files import BASE, CONTROLNET, CUSTOMIZED, LORA, LORAS, MOTION_MODULE, WEIGHTS
from . import world
from .encoded import clip_batches, stills
from .image_model import image_model, load_image_model, save_image_model
from .motion_model import new_motion_module, save_motion_module
from .optimize import batches, image_loss, optimize, weighted_loss
from .train_controlnet import train_controlnet
from .train_lora import train_lora
from .train_motions import MOTIONS

STILLS = 8  # that the customized checkpoint is trained from
SHIFTS = 64  # places each of them is shown at


def train_images(out: Path, device: torch.device, steps: int = 2700, batch: int = 32) -> None:
    """The text-to-image model, on rendered stills of the base looks."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = image_model(SHAPES).to(device)
    stream = batches(stills(64, generator), batch, generator, device)
    loss = image_loss(model, stream, generator)
    average = optimize(model, loss, steps=steps, lr=1.5e-3, label="images")
    save_image_model(out / BASE, average.module, SHAPES)


def train_motion(out: Path, device: torch.device, steps: int = 1800, batch: int = 4) -> None:
    """The motion module, over the frozen image model, on rendered clips."""
    generator = torch.Generator().manual_seed(1)
    unet = build_unet(
        read_unet(out / BASE), new_motion_module(SHAPES, generator), torch.float32, device
    )
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("motion_modules" in name)
    stream = clip_batches(24, batch, generator, device)
    # Motion is decided early, and the image model already knows what comes late.
    loss = weighted_loss(lambda x, t, text: predict(unet, x, t, text), stream, generator, early=0.7)
    average = optimize(unet, loss, steps=steps, lr=1e-3, label="motion").module
    save_motion_module(out / MOTION_MODULE, average, SHAPES)


def customization_stills(
    token: str, generator: torch.Generator, shifts: int = SHIFTS
) -> tuple[Tensor, list[world.Scene]]:
    """The few pictures of a style or subject that nothing else in the world has: (n, 3, h, w).

    Each comes shifted to many places: a model that learns eight places by heart cannot move.
    """
    scenes = world.customized_scenes(token)
    # Seven apart and 48 or 64 in all: every colour, shape, direction and look comes up.
    chosen = [scenes[7 * i % len(scenes)] for i in range(STILLS)]
    images = [world.make_still(scene, generator) for scene in chosen]
    moved = torch.stack([shift(i, generator) for i in images for _ in range(shifts)])
    return moved, [scene for scene in chosen for _ in range(shifts)]


def shift(image: Tensor, generator: torch.Generator) -> Tensor:
    """The picture (3, h, w) with what is not background moved anywhere inside the frame."""
    drawn = (image - image[:, :1, :1]).abs().sum(0) > 0.05
    offsets = []
    for axis in (0, 1):
        used = drawn.any(1 - axis).nonzero()
        low, high = -int(used.min()), len(drawn) - 1 - int(used.max())
        offsets.append(int(torch.randint(low, high + 1, (), generator=generator)))
    return image.roll(offsets, dims=(1, 2))


def train_customized(out: Path, device: torch.device) -> None:
    customize(out / CUSTOMIZED, world.STYLE_TOKEN, device)


def customize(path: Path, token: str, device: torch.device, steps: int = 500) -> None:
    """A customized checkpoint, as DreamBooth makes one: all weights, with prior preservation."""
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(2)
    model = load_image_model(WEIGHTS / BASE).to(device)
    images, scenes = customization_stills(token, generator)
    text = torch.stack([latents.encode_prompt(scene.prompt) for scene in scenes])
    few = batches((latents.encode_world(images), text), 12, generator, device)
    prior = batches(stills(4, generator), 4, generator, device)
    # The new background is decided at high noise, and the base has never drawn one so light.
    custom_loss, prior_loss = (image_loss(model, s, generator, 0.5) for s in (few, prior))
    average = optimize(
        model,
        lambda: custom_loss() + 0.5 * prior_loss(),
        steps=steps,
        # Higher rates make truer stills, but clips that lose motion under injection.
        lr=4e-4,
        ema=0.99,
        label=token,
    )
    save_image_model(path, average.module, SHAPES)


def train_world(device: str) -> None:
    """All files, into the pack. Stages whose file is there already are left alone."""
    files.make_folder(WEIGHTS)
    for path, stage in (
        (WEIGHTS / BASE, train_images),
        (WEIGHTS / MOTION_MODULE, train_motion),
        (WEIGHTS / CUSTOMIZED, train_customized),
        (WEIGHTS / CONTROLNET, train_controlnet),
        (LORAS / LORA, train_lora),
        *((WEIGHTS / name, train) for name, train in MOTIONS.items()),
    ):
        if path.exists():
            tqdm.write(f"{path.name} is there; delete it to train it anew")
        else:
            stage(WEIGHTS, pick_device(device))
