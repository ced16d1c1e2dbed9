"""Memory tiers: parts of the network computed twice instead of remembered.

diffusers' own gradient checkpointing leaves out the motion modules of the down and up blocks,
which hold the most memory. Recomputing gives bit-equal gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import UNetMotionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn
from torch.utils.checkpoint import checkpoint

TIERS = ("none", "top", "two", "all")
SEGMENTS = (ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D)
# Beside what a dry run counts: kernels' scratch space, blocks that do not fit into each other.
# Estimates, for no card was at hand; where they are too low, the next tier is taken.
_SPARE_SHARE, _SPARE_BYTES = 0.1, 2**28


class MemoryTiers:
    """How a network's segments are run: computed twice or remembered, compiled or as written."""

    def __init__(self, unet: UNetMotionModel):
        self.tier = "none"
        self._levels: dict[nn.Module, int] = {}
        self._compiled: dict[nn.Module, Any] = {}
        depth = len(unet.down_blocks)
        blocks = [(block, i) for i, block in enumerate(unet.down_blocks)]
        blocks += [(block, depth - 1 - i) for i, block in enumerate(unet.up_blocks)]
        for block, level in [*blocks, (unet.mid_block, depth)]:
            for module in block.modules():
                if isinstance(module, SEGMENTS):
                    self._levels[module] = level
        self._written = {module: module.forward for module in self._levels}

    def set(self, tier: str) -> None:
        """Recompute the segments of "none", the "top" level, the "two" top levels, or "all"."""
        limit = {"none": 0, "top": 1, "two": 2, "all": 1_000}[tier]
        for module, level in self._levels.items():
            forward = self._compiled.get(module, self._written[module])
            recompute = level < limit
            module.forward = _recomputed(forward) if recompute else forward  # type: ignore  # wrapped on purpose
        self.tier = tier

    @property
    def compiled(self) -> bool:
        return bool(self._compiled)

    def compile(self, on: bool = True, **options: Any) -> None:
        """Run segments through ``torch.compile`` (with its options), or as they are written.

        Inside of what is recomputed: a segment is compiled once for every tier.
        """
        make = partial(torch.compile, dynamic=False, **options)
        self._compiled = {m: make(forward) for m, forward in self._written.items()} if on else {}
        self.set(self.tier)

    def next(self) -> str | None:
        """The tier that needs less memory than this one, or None."""
        following = TIERS.index(self.tier) + 1
        return TIERS[following] if following < len(TIERS) else None


def _recomputed(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run


def choose_tier(peak: Callable[[str], int], free_bytes: int) -> str:
    """The fastest tier that fits. peak: what a step takes in a tier, asked as seldom as can be."""

    def fits(tier: str) -> bool:
        return peak(tier) * (1 + _SPARE_SHARE) + _SPARE_BYTES <= free_bytes

    if fits("none"):
        return "none"
    if fits("two"):
        return "top" if fits("top") else "two"
    return "all"
