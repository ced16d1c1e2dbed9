"""An adapter's low-rank pairs as a network that ComfyUI loads: for scales that change, and hooks.

They are on the device once, in the precision that the MODEL computes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...common.errors import UserError
from ..low_rank import LowRank
from .companions import carried, carry, companion, offload_device


class Pair(nn.Module):
    """x -> (x down^T) up^T along a dimension."""

    def __init__(self, pair: LowRank, ops: Any, **factory: Any) -> None:
        super().__init__()
        channels_out, channels_in = pair.shape
        self.down = ops.Linear(channels_in, pair.rank, bias=False, **factory)
        self.up = ops.Linear(pair.rank, channels_out, bias=False, **factory)

    def forward(self, x: Tensor, channel_dim: int = -1) -> Tensor:
        change = self.up(self.down(x.movedim(channel_dim, -1)))
        return change.movedim(-1, channel_dim)


class Pairs(nn.Module):
    """All pairs of an adapter, by the name of the layer that each is for."""

    def __init__(self, pairs: Mapping[str, LowRank], ops: Any, **factory: Any) -> None:
        super().__init__()
        self.names = list(pairs)
        self.pairs = nn.ModuleList([Pair(pair, ops, **factory) for pair in pairs.values()])

    def by_layer(self) -> dict[str, Any]:
        return dict(zip(self.names, self.pairs, strict=True))


def build_pairs(
    pairs: Mapping[str, LowRank],
    dtype: torch.dtype,
    device: torch.device | None = None,
    disable_dynamic: bool = False,
) -> ModelPatcher:
    """A patcher of the pairs in a precision. device: ComfyUI's own unless given."""
    device = device or comfy.model_management.get_torch_device()
    place = offload_device(device)
    network = Pairs(pairs, comfy.ops.manual_cast, dtype=dtype, device=place)
    tensors = {}
    for i, pair in enumerate(pairs.values()):
        tensors[f"pairs.{i}.down.weight"] = pair.down.to(dtype).contiguous()
        tensors[f"pairs.{i}.up.weight"] = pair.up.to(dtype).contiguous()
    return companion(network, tensors, (build_pairs, (pairs, dtype)), device, disable_dynamic)


def carry_pairs(
    model: ModelPatcher, key: str, pairs: Mapping[str, LowRank], dtype: torch.dtype
) -> None:
    """Have a MODEL carry an adapter's pairs under a key."""
    carry(model, key, build_pairs(pairs, dtype, model.load_device))


def pairs_in(model: ModelPatcher, key: str) -> dict[str, Any]:
    """The pairs that a MODEL carries under a key, by layer: on the device that it runs on.

    Raises UserError where another pack took the hooks along and left the pairs behind.
    """
    patcher = carried(model, key)
    if patcher is None:  # ComfyUI clones a MODEL's hooks and its networks together
        raise UserError(
            "model",
            "an adapter's place in it without the adapter",
            "both, as ComfyUI's own nodes hand a model on",
            "Put the node that applies the adapter behind the other pack's node that made this"
            " model.",
        )
    return patcher.model.by_layer()
