"""What a recipe needs of memory before a step is taken: said before anything is trained.

Counted from the files' layers by their names, so that ComfyUI's process need not build a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ...adapters.files import keys
from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.motion_module import MotionModule
from ..recipes.recipe import Recipe
from ..recipes.sites import Site

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
        sizes = ", ".join(f"{n} {_size(getattr(self, n))}" for n in parts if getattr(self, n))
        return f"{_size(self.total)} before activations ({sizes}); {self.trained:,} numbers trained"


def budget(
    weights: UNetWeights, motion: MotionModule, recipe: Recipe, index: int, dtype: torch.dtype
) -> Budget:
    """The memory of one stage of a motion method. dtype: of the frozen weights.

    Only shapes are read: the tensors may be on the "meta" device. Words are too few to count.
    """
    stage = recipe.stages[index]
    shapes = dict(_parameters(weights, motion))
    in_full, pairs = _in_full(stage.site, shapes), _low_rank(stage.site, stage.rank, shapes)
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


def _in_full(site: Site, shapes: Mapping[str, torch.Size]) -> int:
    trained = site.parameters
    if trained is None:
        return 0
    return sum(shape.numel() for name, shape in shapes.items() if trained(name))


def _low_rank(site: Site, rank: int, shapes: Mapping[str, torch.Size]) -> int:
    """Numbers in LoRA's pairs: (rank, in) and (out, rank) for each weight (out, in)."""
    if site.lora is None:
        return 0
    weights = {n.removesuffix(".weight"): s for n, s in shapes.items() if n.endswith(".weight")}
    return sum(rank * sum(shape) for layer, shape in weights.items() if site.lora.has(layer))


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
