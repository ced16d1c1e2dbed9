"""Spatial Adapters on the network: a low-rank map after a layer or a block (Still-Moving, eq. 4).

Added by forward hooks, so that the network's own parameter names stay what they are.
"""

from __future__ import annotations

import re

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn

from ...adapters.files.adapter import Adapter
from ...adapters.files.keys import UNetLayout
from ...adapters.low_rank import after_layer
from .lora import copy_pairs

# Every injected layer that writes to the residual stream: merging is exact on each of them.
SPATIAL_LAYERS = re.compile(
    r"conv_in"
    r"|.*\.resnets\.\d+\.(conv2|conv_shortcut)"
    r"|.*\.attentions\.\d+\.(proj_out|transformer_blocks\.\d+\.(attn[12]\.to_out\.0|ff\.net\.2))"
    r"|.*\.(downsamplers|upsamplers)\.0\.conv"
)
SPATIAL_BLOCKS = re.compile(r".*\.(resnets|attentions)\.\d+")


class SpatialAdapter(nn.Module):
    """Low-rank map after a spatial layer: ``x + scale * U(D x)`` on the channels; U starts at zero.

    down: (rank, channels), random; up: (channels, rank). Source: Still-Moving, eq. 4,
    ``Adapter(X) = X (I + A_down A_up)``, written for column vectors.
    """

    def __init__(self, channels: int, rank: int, generator: torch.Generator):
        super().__init__()
        # The paper says "random": a unit-variance input keeps unit variance through D.
        self.down = nn.Parameter(torch.randn(rank, channels, generator=generator) * channels**-0.5)
        self.up = nn.Parameter(torch.zeros(channels, rank))
        self.scale = 0.0

    def forward(self, x: Tensor, channel_dim: int) -> Tensor:
        return after_layer(x, self.down, self.up, self.scale, channel_dim)


class SpatialAdapters(nn.Module):
    """The Spatial Adapters of a network, one a site, hooked onto it."""

    def __init__(self, unet: UNetMotionModel, policy: str, rank: int, seed: int):
        super().__init__()
        self.policy = policy
        self.names = spatial_sites(unet, policy)
        generator = torch.Generator().manual_seed(seed)
        modules = dict(unet.named_modules())
        self.sites = nn.ModuleList()
        for name in self.names:
            adapter = SpatialAdapter(out_channels(modules[name]), rank, generator)
            modules[name].register_forward_hook(_hook(adapter, modules[name]))
            self.sites.append(adapter)

    def set_scale(self, scale: float) -> None:
        for site in self.sites:
            site.scale = scale  # type: ignore[assignment]  # ModuleList forgets what it holds

    def pairs(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """(down, up) by diffusers layer name."""
        return {
            name: (site.down, site.up)  # type: ignore[misc]  # ModuleList forgets
            for name, site in zip(self.names, self.sites, strict=True)
        }


def _hook(adapter: SpatialAdapter, module: nn.Module):
    channel_dim = -1 if isinstance(module, nn.Linear) else 1

    def after(_module: nn.Module, _inputs: tuple, output):
        if isinstance(output, tuple):  # Transformer2DModel(return_dict=False)
            return (adapter(output[0], channel_dim), *output[1:])
        return adapter(output, channel_dim)

    return after


def spatial_sites(unet: nn.Module, policy: str) -> list[str]:
    """Names of the sites of a policy ("layers" or "blocks"), in the network's order."""
    pattern = {"layers": SPATIAL_LAYERS, "blocks": SPATIAL_BLOCKS}[policy]
    return [
        name
        for name, _ in unet.named_modules()
        if pattern.fullmatch(name) and "motion_modules" not in name
    ]


def out_channels(module: nn.Module) -> int:
    """Channels that a layer or block writes."""
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    last = module.conv2 if hasattr(module, "conv2") else module.proj_out
    return out_channels(last)  # type: ignore[arg-type]  # attributes are untyped


def load_spatial_adapter(
    unet: UNetMotionModel, adapter: Adapter, layout: UNetLayout, origin: str
) -> SpatialAdapters:
    """Attach a finished Spatial Adapter, held fixed. Raises UserError when its sites differ."""
    adapters = SpatialAdapters(unet, adapter.info.sites, adapter.info.rank, seed=0)
    copy_pairs({layout.to_ldm(n): p for n, p in adapters.pairs().items()}, adapter, origin)
    first = next(unet.parameters())
    return adapters.requires_grad_(False).to(first.device)
