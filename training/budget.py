"""What a recipe needs of memory before a step is taken: said before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..adapters.checkpoint import UNetWeights
from ..adapters.motion_module.checkpoint import MotionModule
from .model import build_unet
from .recipe import Recipe
from .trainable import Trainable

FP32 = 4  # bytes of a trained number, of its gradient, and of each of AdamW's two moments
# CLIP's text encoder of SD1.5, in fp32, which only trained words keep on the device.
TEXT_ENCODER = 123_060_480 * FP32


@dataclass(frozen=True)
class Budget:
    """Bytes on the device. Activations come on top: their tiers take what is left."""

    trained: int  # how many numbers are trained; no bytes
    weights: int  # of the network, what is trained in fp32, and a text encoder in use
    gradients: int
    optimizer: int
    average: int  # moving average, 0 without

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "average")
        told = ", ".join(f"{n} {_size(getattr(self, n))}" for n in parts if getattr(self, n))
        return f"{_size(self.total)} before activations ({told}); {self.trained:,} numbers trained"


def budget(
    weights: UNetWeights, motion: MotionModule, recipe: Recipe, index: int, dtype: torch.dtype
) -> Budget:
    """The memory of one stage. dtype: of the frozen weights. Nothing is allocated for it."""
    stage = recipe.stages[index]
    unet = build_unet(weights, motion, dtype, torch.device("meta"))
    whole = sum(t.numel() for t in unet.state_dict().values())
    trainable = Trainable(unet, stage, weights.layout, recipe.seed)
    trained = sum(p.numel() for p in trainable.parameters.values())
    frozen = whole - (trained if trainable.full else 0)
    text = TEXT_ENCODER if stage.words and weights.base == "sd15" else 0
    return Budget(
        trained,
        weights=frozen * dtype.itemsize + trained * FP32 + text,
        gradients=trained * FP32,
        optimizer=2 * trained * FP32,
        average=trained * FP32 if recipe.ema else 0,
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
