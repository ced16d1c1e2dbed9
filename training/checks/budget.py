"""What a recipe needs of memory before a step is taken: said before anything is trained.

Counted from the files' layers by their names, so that ComfyUI's process need not build a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ...adapters.files import keys
from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.motion_module import MotionModule
from ..recipes.recipe import Recipe
from ..recipes.sites import FULL, LORA

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
    """The memory of one stage of a motion method. dtype: of the frozen weights.

    Only shapes are read: the tensors may be on the "meta" device. Words are too few to count.
    """
    stage = recipe.stages[index]
    shapes = dict(_parameters(weights, motion))
    chosen = FULL.get(stage.train, lambda name: False)
    in_full = sum(shape.numel() for name, shape in shapes.items() if chosen(name))
    _, targets = LORA.get(stage.train, ("", ""))
    lora = re.compile(rf"(?:{targets})\.weight")
    pairs = sum(stage.rank * sum(shape) for name, shape in shapes.items() if lora.fullmatch(name))
    trained = in_full + pairs
    frozen = sum(shape.numel() for shape in shapes.values()) + _positions(motion) - in_full
    text = TEXT_ENCODER if stage.words and weights.base == "sd15" else 0
    return Budget(
        trained,
        weights=frozen * dtype.itemsize + trained * FP32 + text,
        gradients=trained * FP32,
        optimizer=2 * trained * FP32,
        average=trained * FP32 if recipe.ema else 0,
    )


def _parameters(weights: UNetWeights, motion: MotionModule) -> Iterator[tuple[str, torch.Size]]:
    """Every parameter of the network: its name there, and its shape."""
    for name, tensor in weights.tensors.items():
        yield weights.layout.to_diffusers(name), tensor.shape
    for name, tensor in motion.tensors.items():
        if not name.endswith(".pe"):
            yield keys.motion_to_diffusers(name), tensor.shape


def _positions(motion: MotionModule) -> int:
    """Numbers in the network's own position tables: a block has one for both of its attentions."""
    first = ".attention_blocks.0.to_q.weight"
    widths = (len(tensor) for name, tensor in motion.tensors.items() if name.endswith(first))
    return motion.info.max_frames * sum(widths)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
