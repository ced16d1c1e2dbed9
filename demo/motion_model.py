"""A world's motion module: AnimateDiff's layout, small, and its file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..adapters.files import keys
from ..adapters.files.motion_module import MotionModule, recognize
from ..adapters.files.templates import module_shapes
from ..adapters.files.tensors import write_tensors
from ..adapters.positions import sinusoid
from ..worlds.layout import WorldLayout

MAX_FRAMES = 32  # rows of the position tables, as in AnimateDiff v2


def new_motion_module(world: WorldLayout, generator: torch.Generator) -> MotionModule:
    """An untrained motion module: its output projections are zero, as in AnimateDiff."""
    tensors = {}
    for name, shape in module_shapes(world.channels, 1, True, MAX_FRAMES).items():
        if name.endswith("pos_encoder.pe"):
            tensors[name] = sinusoid(MAX_FRAMES, shape[-1])[None]
        elif "temporal_transformer.proj_out" in name or name.endswith("bias"):
            tensors[name] = torch.zeros(shape)
        elif len(shape) == 1:
            tensors[name] = torch.ones(shape)
        else:
            tensors[name] = torch.randn(shape, generator=generator) * shape[-1] ** -0.5
    return MotionModule(recognize(world.name, tensors), tensors, "untrained", world.name)


def save_motion_module(path: Path, unet: nn.Module, world: WorldLayout) -> None:
    """Write the temporal layers of a network in AnimateDiff's naming, fp16."""
    tensors = {}
    for name, value in unet.state_dict().items():
        if name.endswith("pos_embed.pe"):
            for position in keys.animatediff_positions(name):
                tensors[position] = value.half().cpu().clone()
        elif "motion_modules" in name:
            tensors[keys.motion_to_animatediff(name)] = value.half().cpu()
    write_tensors(path, tensors, {"description": f"{world.title}: motion module"})
