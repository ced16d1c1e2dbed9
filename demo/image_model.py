"""The shapes world's image model: SD1.5's layout, small, and its checkpoint file."""

from __future__ import annotations

from pathlib import Path

from diffusers import UNet2DConditionModel
from torch import nn

from ..adapters.files.checkpoint import read_unet
from ..adapters.files.keys import UNetLayout
from ..adapters.files.tensors import write_tensors
from ..worlds.shapes import latents
from . import world

CHANNELS = (64, 64)  # multiples of 32: ComfyUI's UNet has 32 GroupNorm groups


LAYOUT = UNetLayout(levels=2, layers_per_block=1, attention=(True, True))


def image_model() -> nn.Module:
    """SD1.5's layout with two levels of 64 channels and one layer per block."""
    return UNet2DConditionModel(
        sample_size=world.SIZE,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=latents.TEXT_DIM,
        attention_head_dim=8,
    )


def save_image_model(path: Path, model: nn.Module) -> None:
    """Write an image model as an SD checkpoint file: LDM names, fp16."""
    tensors = {
        f"model.diffusion_model.{LAYOUT.to_ldm(name)}": value.half().cpu()
        for name, value in model.state_dict().items()
    }
    write_tensors(path, tensors, {"description": f"The shapes world: {path.stem}"})


def load_image_model(path: Path) -> nn.Module:
    """Inverse of ``save_image_model``."""
    model = image_model()
    tensors = read_unet(path).tensors
    model.load_state_dict({LAYOUT.to_diffusers(k): v.float() for k, v in tensors.items()})
    return model
