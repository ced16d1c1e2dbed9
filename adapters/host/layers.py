"""AnimateDiff's temporal transformer, as ComfyUI runs it; parameter names are those of its files.

A motion module attends over time at every pixel by itself (AnimateDiff, arXiv:2307.04725, fig. 3).
The image layers around it see frames as a batch, so tensors here are (batch * frames, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..files.motion_module import LAYERS, MotionModuleInfo
from ..positions import sinusoid
from .views import Views

HEADS = 8  # of every attention; no file says so
GROUPS = 32

# (q, k, v, heads) -> attended, all (batch, tokens, channels).
Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Tables = tuple[Tensor, Tensor]  # positions of a block's two attentions, each (frames, channels)


class TemporalAttention(nn.Module):
    """Self-attention over frames. x: (batch * pixels, frames, channels); table: their positions."""

    def __init__(self, channels: int, ops: Any, attend: Attend, **factory: Any) -> None:
        super().__init__()
        self.attend = attend
        self.to_q, self.to_k, self.to_v = (
            ops.Linear(channels, channels, bias=False, **factory) for _ in range(3)
        )
        self.to_out = nn.ModuleList([ops.Linear(channels, channels, **factory)])

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        x = x + table.to(x.dtype)
        return self.to_out[0](self.attend(self.to_q(x), self.to_k(x), self.to_v(x), HEADS))


class GatedFeedForward(nn.Module):
    """GEGLU; the names `net.0.proj` and `net.2` are the files'."""

    def __init__(self, channels: int, ops: Any, **factory: Any) -> None:
        super().__init__()
        gated = nn.Module()
        gated.proj = ops.Linear(channels, 8 * channels, **factory)
        self.net = nn.ModuleList(
            [gated, nn.Identity(), ops.Linear(4 * channels, channels, **factory)]
        )

    def forward(self, x: Tensor) -> Tensor:
        gated: Any = self.net[0]
        value, gate = gated.proj(x).chunk(2, dim=-1)
        return self.net[2](value * F.gelu(gate))


class TemporalBlock(nn.Module):
    """Two self-attentions and a feed-forward layer, each normed before and added."""

    def __init__(self, channels: int, ops: Any, attend: Attend, **factory: Any) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            [TemporalAttention(channels, ops, attend, **factory) for _ in range(2)]
        )
        self.norms = nn.ModuleList([ops.LayerNorm(channels, **factory) for _ in range(2)])
        self.ff = GatedFeedForward(channels, ops, **factory)
        self.ff_norm = ops.LayerNorm(channels, **factory)

    def forward(self, x: Tensor, tables: Tables, views: Views | None = None) -> Tensor:
        x = x if views is None else views.cut(x)
        for attention, norm, table in zip(self.attention_blocks, self.norms, tables, strict=True):
            x = x + attention(norm(x), table)
        x = x if views is None else views.joined(x)
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """One motion module. x: (batch * frames, channels, h, w); tables: of the two attentions.

    With views the attentions see the frames of a view at a time, and tables are of its length.
    """

    def __init__(self, channels: int, ops: Any, attend: Attend, **factory: Any) -> None:
        super().__init__()
        self.channels = channels
        self.norm = ops.GroupNorm(GROUPS, channels, eps=1e-6, **factory)
        self.proj_in = ops.Linear(channels, channels, **factory)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, ops, attend, **factory)])
        self.proj_out = ops.Linear(channels, channels, **factory)

    def forward(self, x: Tensor, frames: int, tables: Tables, views: Views | None = None) -> Tensor:
        count, channels, height, width = x.shape
        # The norm is per frame, as AnimateDiff's is; diffusers normalizes all frames together.
        h = self.norm(x).reshape(count // frames, frames, channels, height * width)
        h = h.permute(0, 3, 1, 2).reshape(-1, frames, channels)
        h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h, tables, views)
        h = self.proj_out(h).reshape(count // frames, height * width, frames, channels)
        return x + h.permute(0, 2, 3, 1).reshape(x.shape)


class MotionModel(nn.Module):
    """All motion modules of a file; the state dict has the file's names, less position tables."""

    def __init__(self, info: MotionModuleInfo, ops: Any, attend: Attend, **factory: Any) -> None:
        super().__init__()
        layers = LAYERS[info.channels]

        def modules(channels: int, count: int) -> nn.Module:
            holders = []
            for _ in range(count):
                holder = nn.Module()
                holder.temporal_transformer = TemporalTransformer(channels, ops, attend, **factory)
                holders.append(holder)
            block = nn.Module()
            block.motion_modules = nn.ModuleList(holders)
            return block

        self.info = info
        self.own_tables: dict[str, Tables] | None = None
        self._tables: tuple[tuple[int, torch.device], dict[str, Tables]] | None = None
        self.down_blocks = nn.ModuleList([modules(c, layers) for c in info.channels])
        self.up_blocks = nn.ModuleList([modules(c, layers + 1) for c in reversed(info.channels)])
        if info.has_mid_block:
            self.mid_block = modules(info.channels[-1], 1)

    def positions(self, frames: int, device: torch.device) -> dict[str, Tables]:
        """Position tables in fp32 on a device, by the names of ``transformers``.

        Sinusoids, or the file's own. The last ones are kept, and in no buffer, which a host could
        move or overwrite.
        """
        if self._tables is None or self._tables[0] != (frames, device):
            with torch.inference_mode(False):
                self._tables = (frames, device), self._made(frames, device)
        return self._tables[1]

    def _made(self, frames: int, device: torch.device) -> dict[str, Tables]:
        if self.own_tables is not None:
            own = self.own_tables.items()
            return {n: (a[:frames].to(device), b[:frames].to(device)) for n, (a, b) in own}
        plain = {c: sinusoid(frames, c).to(device) for c in set(self.info.channels)}
        return {n: (plain[t.channels], plain[t.channels]) for n, t in self.transformers().items()}

    def keep_tables(self, tensors: Mapping[str, Tensor]) -> None:
        """Use a file's own position tables. tensors: of the file, in AnimateDiff naming."""
        names = {id(t): name for name, t in self.named_modules()}
        self.own_tables = {}
        for block, transformer in self.transformers().items():
            place = f"{names[id(transformer)]}.transformer_blocks.0"
            first, second = (
                tensors[f"{place}.attention_blocks.{i}.pos_encoder.pe"][0].float() for i in (0, 1)
            )
            self.own_tables[block] = first, second

    def transformers(self) -> dict[str, TemporalTransformer]:
        """By the name of the image UNet's block in LDM naming that each comes after."""
        step = LAYERS[self.info.channels] + 1
        transformers = {}
        for name, blocks, first in (
            ("input_blocks", self.down_blocks, 1),
            ("output_blocks", self.up_blocks, 0),
        ):
            block: Any
            for level, block in enumerate(blocks):
                for i, holder in enumerate(block.motion_modules):
                    transformers[f"{name}.{first + level * step + i}"] = holder.temporal_transformer
        if self.info.has_mid_block:
            middle: Any = self.mid_block
            transformers["middle_block"] = middle.motion_modules[0].temporal_transformer
        return transformers
