"""The numbers of an adapter at one site: a low-rank pair, applied at run time or merged.

        Motion Adapter                        Spatial Adapter
    x ──┬── W ───────────┬── y          x ── W, b ── h ──┬───────────────┬── y
        └─ down ─ up ·s ─┘                               └─ down ─ up ·s ─┘

A Motion Adapter runs beside a layer and a Spatial Adapter after it (Still-Moving,
arXiv:2407.08674, eq. 3 and 4), so both merge into W exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """down: (rank, in); up: (out, rank). In eq. 4 down is A_down^T and up is A_up^T."""

    down: Tensor
    up: Tensor

    def __post_init__(self) -> None:
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1]:
            raise ValueError(
                f"down {tuple(self.down.shape)} and up {tuple(self.up.shape)} are no low-rank pair:"
                " down must be (rank, in) and up (out, rank)"
            )

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the layer that it changes."""
        return self.up.shape[0], self.down.shape[1]

    def delta(self, scale: float = 1.0) -> Tensor:
        """scale * up @ down, in fp32: (out, in)."""
        return scale * (self.up.float() @ self.down.float())


def merge_lora(weight: Tensor, pair: LowRank, scale: float) -> Tensor:
    """W + scale * up @ down (eq. 3): a Motion Adapter, or any LoRA, in the layer's own weight.

    weight: (out, in), or a convolution's (out, in, kh, kw) with down as (rank, in * kh * kw).
    """
    if scale == 0:
        return weight
    own = _wide(weight)
    delta = pair.delta(scale).to(own)
    return (own + delta.reshape(weight.shape)).to(weight.dtype)


def after_layer(x: Tensor, down: Tensor, up: Tensor, scale: float, channel_dim: int) -> Tensor:
    """x + scale * (x down^T) up^T along `channel_dim` (eq. 4), in the dtype of x.

    A pair in parts, which can be compiled and have gradients.
    """
    if scale == 0:
        return x
    rows = x.movedim(channel_dim, -1)
    change = (rows @ down.to(x).T) @ up.to(x).T
    return x + scale * change.movedim(-1, channel_dim)


def merge_spatial(
    weight: Tensor, bias: Tensor | None, pair: LowRank, scale: float
) -> tuple[Tensor, Tensor | None]:
    """Fold a Spatial Adapter into the layer before it: W' = W + s U(D W), b' = b + s U(D b).

    weight: (out, in), or a convolution's (out, in, kh, kw): exact for any kernel, stride, padding
    and dilation, because the adapter is a 1x1 map of the layer's output. Not for a convolution in
    groups, whose weight cannot mix them; SD has none.
    """
    if scale == 0:
        return weight, bias
    merged = _after(_wide(weight).flatten(1), pair, scale).reshape(weight.shape).to(weight.dtype)
    if bias is None:
        return merged, None
    return merged, _after(_wide(bias)[:, None], pair, scale)[:, 0].to(bias.dtype)


def spatial_as_lora(
    weight: Tensor, bias: Tensor | None, pair: LowRank
) -> tuple[LowRank, Tensor | None]:
    """A Spatial Adapter as a LoRA of one layer: up = U, down = D W, and what the bias gains.

    weight: (out, ...); the pair's down is (rank, in * kh * kw), to be reshaped for a convolution.
    """
    down = _wide(pair.down) @ _wide(weight).flatten(1).to(pair.down.device)
    lora = LowRank(down=down, up=_wide(pair.up))
    if bias is None:
        return lora, None
    return lora, lora.up @ (_wide(pair.down) @ _wide(bias).to(pair.down.device))


def _after(columns: Tensor, pair: LowRank, scale: float) -> Tensor:
    return columns + scale * (pair.up.to(columns) @ (pair.down.to(columns) @ columns))


def _wide(tensor: Tensor) -> Tensor:
    """At least fp32: a product of half-precision factors loses the small change that matters."""
    return tensor.to(wide(tensor.dtype))


def wide(dtype: torch.dtype) -> torch.dtype:
    """fp32 for all that is smaller. torch promotes no fp8 by itself."""
    return dtype if dtype.itemsize >= 4 and dtype.is_floating_point else torch.float32
