"""The demo's networks, their clips, and the numbers that describe a set of clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from ..worlds.shapes import latents
from ..worlds.shapes.files import MOTION_MODULE, WEIGHTS
from . import world
from .image_model import load_image_model
from .measure import Measures, measure
from .world import Scene

STEPS = 12
CFG = 2.0
STILLS_CFG = 1.5  # at 2 the customized checkpoint's light background comes out too light
BATCH = 2  # clips; see Network.frames


@dataclass(frozen=True)
class Clips:
    """Generated clips, one a scene, and what they show."""

    frames: Tensor  # (n, frames, 3, SIZE, SIZE) in 0..1
    measures: list[Measures]

    def mean(self, quantity: Callable[[Measures], float]) -> float:
        return sum(map(quantity, self.measures)) / len(self.measures)

    def error(self, quantity: Callable[[Measures], float]) -> float:
        """Standard error of the mean."""
        values = torch.tensor([float(quantity(m)) for m in self.measures])
        return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0

    def summary(self) -> dict[str, float]:
        """Means and standard errors, ready for JSON."""
        named: dict[str, Callable[[Measures], float]] = {
            "fidelity": lambda m: m.fidelity,
            "prompt_accuracy": lambda m: m.correct,
            "motion": lambda m: m.motion,
            "jitter": lambda m: m.jitter,
            "frame_difference": lambda m: m.frame_difference,
            "colour_accuracy": lambda m: m.colour,
            "shape_accuracy": lambda m: m.shape,
            "direction_accuracy": lambda m: m.direction,
            "look_accuracy": lambda m: m.look,
        }
        means = {name: round(self.mean(quantity), 4) for name, quantity in named.items()}
        errors = {
            f"{name}_error": round(self.error(quantity), 4) for name, quantity in named.items()
        }
        return means | errors


class Network:
    """A checkpoint with the shapes world's motion module, and adapters as asked."""

    def __init__(
        self,
        checkpoint: Path,
        device: torch.device,
        *,
        motion_adapter: Path | None = None,
        spatial_adapter: Path | None = None,
        motion_weights: Path | None = None,
        image_lora: Path | None = None,
    ):
        weights = read_unet(checkpoint)
        motion = read_motion_module(WEIGHTS / MOTION_MODULE)
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

    def clips(
        self,
        scenes: Sequence[Scene],
        seeds: Sequence[int],
        motion_scale: float | None = None,
        steps: int = STEPS,
    ) -> Clips:
        """One clip a scene. motion_scale: of the Motion Adapter, where there is one."""
        if motion_scale is not None:
            set_motion_scale(self.unet, motion_scale)
        frames = self.frames([scene.prompt for scene in scenes], seeds, steps)
        return Clips(frames, [measure(f, s) for f, s in zip(frames, scenes, strict=True)])

    def frames(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int = STEPS, cfg: float = CFG
    ) -> Tensor:
        """One clip a prompt: (n, frames, 3, SIZE, SIZE) in 0..1."""
        text = torch.stack([latents.encode_prompt(prompt) for prompt in prompts])
        size = (latents.CHANNELS, world.FRAMES, world.SIZE, world.SIZE)
        empty = latents.encode_prompt("")
        # In small batches: what does not fit the processor's cache takes several times as long.
        parts = [
            sample_clips(
                self.unet,
                text[i : i + BATCH],
                empty,
                seeds=seeds[i : i + BATCH],
                size=size,
                steps=steps,
                cfg=cfg,
            )
            for i in range(0, len(prompts), BATCH)
        ]
        return latents.decode_world(torch.cat(parts).transpose(1, 2))


def sample_stills(
    checkpoint: Path, scenes: Sequence[Scene], seed: int, device: torch.device
) -> Tensor:
    """Pictures by the image model alone, one a scene: (n, 3, SIZE, SIZE) in 0..1."""
    model = load_image_model(checkpoint).to(device).eval()

    def network(noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return model(noisy, timesteps, text, return_dict=False)[0]

    size = (latents.CHANNELS, world.SIZE, world.SIZE)
    text = torch.stack([latents.encode_prompt(scene.prompt) for scene in scenes]).to(device)
    empty = latents.encode_prompt("").to(device)
    seeds = range(seed, seed + len(scenes))
    samples = denoise(network, text, empty, seeds=seeds, size=size, steps=25, cfg=STILLS_CFG)
    return latents.decode_world(samples.cpu())


def check(metrics: dict[str, Any]) -> dict[str, bool]:
    """What the method promises, as statements about ``metrics.json``."""
    motion = metrics["motion_by_scale"]
    ours, naive = metrics["still_moving"], metrics["injection"]
    return {
        "scale 1 freezes (at most 0.25 of the motion at 0)": motion["1"] <= 0.25 * motion["0"],
        "scale -1 moves more (at least 1.15 of the motion at 0)": motion["-1"]
        >= 1.15 * motion["0"],
        "Still-Moving is truer to the customization than injection": ours["fidelity"]
        > naive["fidelity"],
        "Still-Moving keeps at least 0.8 of the base's motion": ours["motion"]
        >= 0.8 * metrics["base"]["motion"],
    }
