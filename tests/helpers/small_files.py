"""Small real objects for the tests of adapters: the shapes world's files, random inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.real_size import random_tensor
from still_moving.adapters.files.adapter import Adapter, AdapterInfo
from still_moving.adapters.files.checkpoint import BASES, UNetWeights
from still_moving.adapters.files.keys import UNetLayout
from still_moving.adapters.files.templates import module_shapes, unet_shapes
from still_moving.adapters.low_rank import LowRank

SHAPES_LAYOUT = BASES[64, 64][1]
MODULE_SHAPES = module_shapes((64, 64), 1, True, 8)
UNET_SHAPES = unet_shapes(SHAPES_LAYOUT, 64, (1, 1), 64)
PREFIX = "model.diffusion_model."
# One layer of each sort that policy `layers` has, conv_in and samplers included.
SPATIAL_LAYERS = (
    "input_blocks.0.0",
    "input_blocks.1.0.out_layers.3",
    "input_blocks.1.1.proj_out",
    "input_blocks.1.1.transformer_blocks.0.attn2.to_out.0",
    "input_blocks.2.0.op",
    "middle_block.1.transformer_blocks.0.ff.net.2",
    "output_blocks.0.0.skip_connection",
    "output_blocks.1.2.conv",
)


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: random_tensor(name, shape, generator) for name, shape in shapes.items()}


def shapes_unet(seed: int = 0) -> UNetWeights:
    tensors = random_tensors(UNET_SHAPES, seed)
    return UNetWeights(tensors, SHAPES_LAYOUT, "shapes", "0" * 64, "shapes.safetensors")


def diffusers_model(tensors: Mapping[str, Tensor], layout: UNetLayout) -> Any:
    """A UNet2DConditionModel of the shapes world's size, with these tensors by LDM names."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        block_out_channels=(64, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    model.load_state_dict({layout.to_diffusers(name): t for name, t in tensors.items()})
    return model.eval()


def random_pair(channels: int, rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, channels, generator=generator)
    return LowRank(down, torch.randn(channels, rank, generator=generator))


def motion_layers() -> list[str]:
    """Every temporal q, k and v of the shapes world's motion module."""
    ends = (".to_q.weight", ".to_k.weight", ".to_v.weight")
    return [name.removesuffix(".weight") for name in MODULE_SHAPES if name.endswith(ends)]


def motion_adapter(rank: int = 4, seed: int = 0) -> Adapter:
    info = AdapterInfo("motion", rank, "temporal.qkv", "shapes", "a" * 64, steps=7)
    pairs = {name: random_pair(64, rank, seed + i) for i, name in enumerate(motion_layers())}
    return Adapter(info, pairs)


def spatial_adapter(rank: int = 4, seed: int = 0, sites: str = "layers") -> Adapter:
    info = AdapterInfo("spatial", rank, sites, "shapes", "a" * 64, "b" * 64, steps=7)
    layers = SPATIAL_LAYERS if sites == "layers" else ("input_blocks.1.0", "input_blocks.1.1")
    return Adapter(info, {name: random_pair(64, rank, seed + i) for i, name in enumerate(layers)})


def error_of(error_type: type[Exception], act: Callable[[], object]) -> Exception | None:
    """The error of this type that acting raises; None without; any other one passes through."""
    try:
        act()
    except error_type as error:
        return error
    return None


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spellings(layer: str) -> dict[str, list[str]]:
    """The names that each tool gives to (down, up) of one layer; written without keys.py."""
    diffusers = layer.replace(".temporal_transformer", "")
    diffusers = diffusers.replace("attention_blocks.0", "attn1")
    diffusers = diffusers.replace("attention_blocks.1", "attn2")
    head, _, to = diffusers.rpartition(".to_")
    processor = f"{head}.processor.to_{to.removesuffix('.0')}_lora"
    original, _, to = layer.rpartition(".to_")
    original = f"{original}.processor.to_{to.removesuffix('.0')}_lora"
    kohya = "lora_unet_" + diffusers.replace(".", "_")
    both = ("down", "up")
    return {
        "AnimateDiff": [f"{original}.{part}.weight" for part in both],
        "processor": [f"{processor}.{part}.weight" for part in both],
        "unet processor": [f"unet.{processor}.{part}.weight" for part in both],
        "peft": [f"unet.{diffusers}.lora_{part}.weight" for part in "AB"],
        "peft model": [f"base_model.model.{diffusers}.lora_{part}.weight" for part in "AB"],
        "kohya": [f"{kohya}.lora_{part}.weight" for part in both],
        "kohya AnimateDiff": [
            f"lora_unet_{layer.replace('.', '_')}.lora_{part}.weight" for part in both
        ],
    }
