"""The shapes world in ComfyUI, small enough to sample in a moment; adapters with random numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from helpers.small_files import random_pair
from still_moving.adapters.files.adapter import Adapter, AdapterInfo
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.host.motion_module import (
    LoadedMotionModule,
    apply_motion_module,
    load_motion_module,
    motion_patcher,
)
from still_moving.adapters.low_rank import LowRank
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.adapters.worlds import model as shapes
from still_moving.worlds.known import SHAPES
from still_moving.worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS
from still_moving.worlds.shapes.latents import encode_prompt

FRAMES, SIZE = 4, 16
PROMPT = "red circle left night"


def plain(name: str = BASE) -> ModelPatcher:
    return shapes.load_model(WEIGHTS / name)


def built(tensors: dict[str, Tensor], **changes: Any) -> ModelPatcher:
    """A MODEL of other layers than the shapes world's, as ComfyUI makes one for such a file."""
    config = shapes.WorldModel(shapes.unet_config(SHAPES) | changes)
    config.set_inference_dtype(torch.float32, None)
    network = config.get_model(tensors, "")
    network.load_model_weights(dict(tensors), "")
    cpu = torch.device("cpu")
    return ModelPatcher(network, load_device=cpu, offload_device=cpu)


def reading(channels: int) -> ModelPatcher:
    """The base with a first layer that reads more than latents, as inpainting models have it."""
    return built(widened(channels), in_channels=channels)


def widened(channels: int) -> dict[str, Tensor]:
    tensors = shapes._tensors(WEIGHTS / BASE, shapes.CHECKPOINT_PREFIX)
    first = tensors["input_blocks.0.0.weight"]
    more = torch.zeros(first.shape[0], channels - first.shape[1], *first.shape[2:])
    return tensors | {"input_blocks.0.0.weight": torch.cat([first, more], 1)}


def stored_as(dtype: torch.dtype) -> ModelPatcher:
    """The base with its weights in another precision, computing in fp32."""
    config = shapes.WorldModel(shapes.unet_config(SHAPES))
    config.set_inference_dtype(dtype, torch.float32)
    tensors = shapes._tensors(WEIGHTS / BASE, shapes.CHECKPOINT_PREFIX)
    network = config.get_model(tensors, "")
    network.load_model_weights(tensors, "")
    cpu = torch.device("cpu")
    return ModelPatcher(network.to(dtype), load_device=cpu, offload_device=cpu)


@cache
def motion_module() -> LoadedMotionModule:
    return load_motion_module(WEIGHTS / MOTION_MODULE)


def write_tuned_module(path: Path, seed: int) -> LoadedMotionModule:
    """One that was made from the shapes world's motion module, in fp32."""
    noise = torch.Generator().manual_seed(seed)
    tensors = {
        name: own
        if name.endswith(".pe")
        else own.float() * (1 + 0.3 * torch.randn(own.shape, generator=noise))
        for name, own in read_motion_module(WEIGHTS / MOTION_MODULE).tensors.items()
    }
    write_tensors(path, tensors, {})
    return load_motion_module(path)


def moving(model: ModelPatcher | None = None) -> ModelPatcher:
    return apply_motion_module(model or plain(), motion_module())


def text(prompt: str) -> Tensor:
    return encode_prompt(prompt)[None]


def sample(model: Any, frames: int = FRAMES, **options: Any) -> Tensor:
    """Latents (frames, 4, h, w) of one prompt, by ComfyUI's sampler."""
    size, noise = options.pop("size", (SIZE, SIZE)), options.pop("noise", None)
    if noise is None:
        noise = torch.randn(frames, 4, *size, generator=torch.Generator().manual_seed(frames))
    named = {"steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal"} | options
    positive = named.pop("positive", [[text(PROMPT), {}]])
    return comfy.sample.sample(
        model,
        noise,
        positive=positive,
        negative=[[text(""), {}]],
        latent_image=torch.zeros_like(noise),
        seed=0,
        disable_pbar=True,
        **named,
    )


def motion_adapter(seed: int = 0) -> Adapter:
    """On every temporal q, k and v of the shapes world's module."""
    patcher = motion_patcher(moving())
    assert patcher is not None
    names = [n.removesuffix(".weight") for n, _ in patcher.model.named_parameters()]
    layers = [n for n in names if n.endswith((".to_q", ".to_k", ".to_v"))]
    pairs = {n: small_pair(seed + i) for i, n in enumerate(layers)}
    return Adapter(AdapterInfo("motion", 4, "temporal.qkv", "shapes"), pairs)


def spatial_adapter(sites: str = "layers", seed: int = 0) -> Adapter:
    """On one layer of each sort, or on two blocks."""
    from helpers.small_files import SPATIAL_LAYERS

    layers = SPATIAL_LAYERS if sites == "layers" else ("input_blocks.1.0", "input_blocks.1.1")
    pairs = {name: small_pair(seed + i) for i, name in enumerate(layers)}
    return Adapter(AdapterInfo("spatial", 4, sites, "shapes"), pairs)


def always(scale: float) -> ScaleSchedule:
    """A scale for all of sampling, as one that changes: it was 0 before the first step."""
    return ScaleSchedule(0.0, scale, "step", 0.0, 0.0)


def small_pair(seed: int) -> LowRank:
    pair = random_pair(64, 4, seed)
    return LowRank(pair.down / 8, 0.1 * pair.up)


def wide_pair(seed: int) -> LowRank:
    """For the second layer of a feed-forward layer: four times as many channels in as out."""
    noise = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(4, 256, generator=noise) / 16, torch.randn(64, 4, generator=noise))


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
