"""A world's networks as the demo and the benchmarks use them: files in, latents out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import UNetMotionModel
from torch import Tensor

from ..adapters.files.adapter import load_adapter
from ..adapters.files.checkpoint import read_unet
from ..adapters.files.image_lora import merge_image_lora
from ..adapters.files.motion_module import read_motion_module
from ..adapters.files.motion_weights import load_motion_weights
from ..training.network.inversion import with_motion
from ..training.network.lora import load_motion_adapter, set_motion_scale
from ..training.network.sampling import denoise, sample_clips
from ..training.network.spatial import load_spatial_adapter
from ..training.network.unet import build_unet
from ..worlds.known import WORLDS
from ..worlds.layout import LATENT_CHANNELS
from .image_model import load_image_model

BATCH = 2  # clips; see MotionNetwork.latents


class MotionNetwork:
    """A checkpoint of a world with its motion module, and adapters as asked."""

    def __init__(
        self,
        checkpoint: Path,
        motion_module: Path,
        device: torch.device,
        *,
        motion_adapter: Path | None = None,
        spatial_adapter: Path | None = None,
        motion_weights: Path | None = None,
        image_lora: Path | None = None,
    ):
        weights = read_unet(checkpoint)
        self.world = WORLDS[weights.base]
        motion = read_motion_module(motion_module)
        if motion_weights is not None:
            learned = load_motion_weights(motion_weights)
            weights, motion = with_motion(weights, motion, learned, str(motion_weights))
        if image_lora is not None:
            weights = merge_image_lora(weights, image_lora)
        self.unet: UNetMotionModel = build_unet(weights, motion, torch.float32, device)
        if motion_adapter is not None:
            adapter = load_adapter(motion_adapter, kind="motion")
            load_motion_adapter(self.unet, adapter, str(motion_adapter))
            set_motion_scale(self.unet, 0.0)
        if spatial_adapter is not None:
            adapter = load_adapter(spatial_adapter, kind="spatial")
            load_spatial_adapter(
                self.unet, adapter, weights.layout, str(spatial_adapter)
            ).set_scale(1.0)

    def latents(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int, cfg: float
    ) -> Tensor:
        """One clip a prompt: (n, channels, frames, size, size)."""
        encode, side = self.world.words.encode, self.world.size
        text = torch.stack([encode(prompt) for prompt in prompts])
        # In small batches: what does not fit the processor's cache takes several times as long.
        parts = [
            sample_clips(
                self.unet,
                text[i : i + BATCH],
                encode(""),
                seeds=seeds[i : i + BATCH],
                size=(LATENT_CHANNELS, self.world.frames, side, side),
                steps=steps,
                cfg=cfg,
            )
            for i in range(0, len(prompts), BATCH)
        ]
        return torch.cat(parts)


def still_latents(
    checkpoint: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    device: torch.device,
    *,
    cfg: float,
    steps: int = 25,
) -> Tensor:
    """Pictures by the image model alone, one a prompt: (n, channels, size, size)."""
    model = load_image_model(checkpoint).to(device).eval()
    world = WORLDS[read_unet(checkpoint).base]

    def network(noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return model(noisy, timesteps, text, return_dict=False)[0]

    encode, size = world.words.encode, (LATENT_CHANNELS, world.size, world.size)
    text = torch.stack([encode(prompt) for prompt in prompts]).to(device)
    empty = encode("").to(device)
    return denoise(network, text, empty, seeds=seeds, size=size, steps=steps, cfg=cfg).cpu()
