"""A ControlNet that reads outlines, trained over the frozen image model in a few minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn
from torch.nn import functional as F

from ..adapters.files.keys import UNetLayout
from ..adapters.files.tensors import read_tensors, write_tensors
from ..worlds.known import SHAPES
from ..worlds.shapes import latents
from ..worlds.shapes.files import BASE, CONTROLNET
from . import world
from .image_model import load_image_model
from .optimize import CAPTION_DROPOUT, optimize, weighted_loss
from .world import Scene

# Without attention: where an outline is needs no words, and the file is a third smaller.
CONTROL_LAYOUT = UNetLayout(levels=2, layers_per_block=1, attention=(False, False))
CONTROL_PREFIX = "control_model."
GREY = (0.299, 0.587, 0.114)


def control_model() -> ControlNetModel:
    """A ControlNet for the image model: its way down, without attention, and a hint's encoder."""
    return ControlNetModel(
        block_out_channels=SHAPES.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=latents.TEXT_DIM,
        attention_head_dim=8,
    )


def outline(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Lines where grey steps by more than a threshold, as an edge detector draws them.

    pixels: (n, 3, h, w) in 0..1; threshold: (n,). Returns (n, 8h, 8w) of 0 and 1, uint8.
    """
    grey = torch.einsum("c,nchw->nhw", torch.tensor(GREY), latents.enlarge(pixels))
    limit = threshold[:, None, None]
    across = F.pad(grey.diff(dim=-1).abs() > limit, (0, 1))
    down = F.pad(grey.diff(dim=-2).abs() > limit, (0, 0, 0, 1))
    return (across | down).to(torch.uint8)


def hints(scene: Scene, positions: Tensor, generator: torch.Generator) -> Tensor:
    """Outlines (n, 128, 128) of a scene's shape, in lines of several widths and with gaps.

    An artist's outline comes from another picture than the one that is asked for, so the colour
    is any, and the look the one with the clearest edges.
    """
    colours = list(world.COLOURS)
    colour = colours[int(torch.randint(len(colours), (), generator=generator))]
    pixels = world.render(scene._replace(colour=colour, look="night"), positions)
    low, high = 0.04, 0.3
    lines = outline(pixels, low + (high - low) * torch.rand(len(pixels), generator=generator))
    wide = F.max_pool2d(lines[:, None].float(), 3, 1, 1)[:, 0].to(torch.uint8)
    pick = torch.rand(len(lines), generator=generator) < 0.4
    return torch.where(pick[:, None, None], wide, lines)


def control_batches(
    per_scene: int, size: int, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Any]]:
    """Endless batches of latents with their (text, hints); some captions dropped."""
    clean, prompts, lines = [], [], []
    for scene in world.all_scenes():
        places = torch.rand(per_scene, 2, generator=generator)
        positions = world.MARGIN + (world.SIZE - 2 * world.MARGIN) * places
        clean.append(latents.encode_world(world.render(scene, positions)))
        prompts.append(latents.encode_prompt(scene.prompt).expand(per_scene, -1, -1))
        lines.append(hints(scene, positions, generator))
    clean, prompts, lines = torch.cat(clean), torch.cat(prompts), torch.cat(lines)
    while True:
        pick = torch.randint(len(clean), (size,), generator=generator)
        keep = torch.rand(size, generator=generator) >= CAPTION_DROPOUT
        text = (prompts[pick] * keep[:, None, None]).to(device)
        yield clean[pick].to(device), (text, as_hint(lines[pick]).to(device))


def as_hint(lines: Tensor) -> Tensor:
    """White lines on black, (n, h, w) -> (n, 3, h, w) in 0..1."""
    return lines[:, None].expand(-1, 3, -1, -1).float()


def controlled(
    model: nn.Module, control: nn.Module, noisy: Tensor, t: Tensor, text: Tensor, hint: Tensor
) -> Tensor:
    """The image model's prediction with the control's features added, at scale 1."""
    down, middle = control(noisy, t, text, hint, return_dict=False)
    return model(
        noisy,
        t,
        text,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample


def train_controlnet(out: Path, device: torch.device, steps: int = 420, batch: int = 12) -> None:
    """The ControlNet, on rendered stills and their outlines."""
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(3)
    model = load_image_model(out / BASE).to(device).requires_grad_(False)
    control: Any = control_model()
    control.to(device)
    # As ControlNets start: a copy of the way down, connected by layers that are zero.
    copied = {k: v for k, v in model.state_dict().items() if k in control.state_dict()}
    control.load_state_dict(copied, strict=False)
    stream = control_batches(12, batch, generator, device)
    # Where a shape is, is decided early.
    loss = weighted_loss(
        lambda x, t, given: controlled(model, control, x, t, *given), stream, generator, early=0.7
    )
    average = optimize(control, loss, steps=steps, lr=1e-3, ema=0.99, label="control")
    save_controlnet(out / CONTROLNET, average.module)


def save_controlnet(path: Path, control: nn.Module) -> None:
    """Write a ControlNet in the naming of the original ones, fp16."""
    tensors = {
        CONTROL_PREFIX + control_to_ldm(name): value.half().cpu()
        for name, value in control.state_dict().items()
    }
    write_tensors(path, tensors, {"description": "The shapes world: ControlNet of outlines"})


def load_controlnet(path: Path) -> ControlNetModel:
    """Inverse of ``save_controlnet``."""
    control = control_model()
    tensors, _ = read_tensors(path)
    names = {name: CONTROL_PREFIX + control_to_ldm(name) for name in control.state_dict()}
    control.load_state_dict({name: tensors[ldm].float() for name, ldm in names.items()})
    return control


def control_to_ldm(name: str) -> str:
    """A tensor's name in diffusers' ControlNetModel -> in the original ControlNet."""
    layer, leaf = name.rsplit(".", 1)
    if layer == "controlnet_mid_block":
        return f"middle_block_out.0.{leaf}"
    if layer.startswith("controlnet_down_blocks."):
        return f"zero_convs.{layer.rsplit('.', 1)[1]}.0.{leaf}"
    if layer.startswith("controlnet_cond_embedding."):
        # Every other module of the original's sequence is an activation.
        place = layer.removeprefix("controlnet_cond_embedding.")
        number = {"conv_in": 0, "conv_out": 7}.get(place)
        number = 1 + int(place.rsplit(".", 1)[1]) if number is None else number
        return f"input_hint_block.{2 * number}.{leaf}"
    return CONTROL_LAYOUT.to_ldm(name)
