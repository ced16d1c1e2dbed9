"""A world's image model: SD1.5's layout, small, and its checkpoint file."""

from __future__ import annotations

from pathlib import Path

from diffusers import UNet2DConditionModel
from torch import nn

from ..adapters.files.checkpoint import read_unet
from ..adapters.files.keys import UNetLayout
from ..adapters.files.tensors import write_tensors
from ..worlds.known import WORLDS
from ..worlds.layout import WorldLayout


def unet_layout(world: WorldLayout) -> UNetLayout:
    levels = len(world.channels)
    return UNetLayout(levels=levels, layers_per_block=1, attention=(True,) * levels)


def image_model(world: WorldLayout) -> nn.Module:
    """SD1.5's layout with the world's channels, attention on every level, one layer per block."""
    levels = len(world.channels)
    return UNet2DConditionModel(
        sample_size=world.size,
        block_out_channels=world.channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=world.words.dim,
        attention_head_dim=8,
    )


def save_image_model(path: Path, model: nn.Module, world: WorldLayout) -> None:
    """Write an image model as an SD checkpoint file: LDM names, fp16."""
    layout = unet_layout(world)
    tensors = {
        f"model.diffusion_model.{layout.to_ldm(name)}": value.half().cpu()
        for name, value in model.state_dict().items()
    }
    write_tensors(path, tensors, {"description": f"{world.title}: {path.stem}"})


def load_image_model(path: Path) -> nn.Module:
    """Inverse of ``save_image_model``: of the world that the file is of."""
    weights = read_unet(path)
    model, layout = image_model(WORLDS[weights.base]), weights.layout
    model.load_state_dict({layout.to_diffusers(k): v.float() for k, v in weights.tensors.items()})
    return model
