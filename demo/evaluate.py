"""The demo's networks, their clips, and the numbers that describe a set of clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..training.network.lora import set_motion_scale
from ..worlds.shapes import latents
from ..worlds.shapes.files import MOTION_MODULE, WEIGHTS
from .measure import Measures, measure
from .network import MotionNetwork, still_latents
from .world import Scene

STEPS = 12
CFG = 2.0
STILLS_CFG = 1.5  # at 2 the customized checkpoint's light background comes out too light


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


class Network(MotionNetwork):
    """A checkpoint with the shapes world's motion module, and adapters as asked."""

    def __init__(self, checkpoint: Path, device: torch.device, **adapters: Path | None):
        super().__init__(checkpoint, WEIGHTS / MOTION_MODULE, device, **adapters)

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
        return latents.decode_world(self.latents(prompts, seeds, steps, cfg).transpose(1, 2))


def sample_stills(
    checkpoint: Path, scenes: Sequence[Scene], seed: int, device: torch.device
) -> Tensor:
    """Pictures by the image model alone, one a scene: (n, 3, SIZE, SIZE) in 0..1."""
    prompts, seeds = [scene.prompt for scene in scenes], range(seed, seed + len(scenes))
    return latents.decode_world(still_latents(checkpoint, prompts, seeds, device, cfg=STILLS_CFG))


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
