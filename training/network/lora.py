"""Where adapters sit in the network and how they are attached, scaled, named and exported.

LoRA on temporal attention is peft's (lora_alpha = rank, so scale 1 is the paper's alpha 1). The
Spatial Adapter is ours: a low-rank map after a layer, added by forward hooks, so that the
network's own parameter names stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
from diffusers import UNetMotionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ...adapters.files import keys
from ...adapters.files.adapter import Adapter
from ...adapters.files.keys import UNetLayout
from ...common.errors import UserError
from ..recipes.sites import MOTION, MOTION_LORA, LoraSite

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
        if self.scale == 0:
            return x
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        moved = x.movedim(channel_dim, -1)
        change = (moved @ down.T) @ up.T
        return x + self.scale * change.movedim(-1, channel_dim)


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
            site.scale = scale  # type: ignore[assignment]

    def pairs(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """(down, up) by diffusers layer name."""
        return {
            name: (site.down, site.up)  # type: ignore[misc]
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
    return out_channels(last)  # type: ignore[arg-type]


def add_motion_adapter(unet: UNetMotionModel, rank: int, seed: int) -> None:
    """LoRA named "motion" on the temporal q, k, v (eq. 3): down random, up zero."""
    add_lora(unet, MOTION_LORA, rank, seed)


def add_lora(unet: UNetMotionModel, site: LoraSite, rank: int, seed: int) -> None:
    """LoRA on every layer of a site: down random, up zero."""
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=site.layers)
    inject_adapter_in_model(config, unet, adapter_name=site.name)
    generator = torch.Generator().manual_seed(seed)
    for down, up in lora_pairs(unet, site.name).values():
        # peft draws from the global generator; a run must depend on its seed alone.
        bound = down.shape[1] ** -0.5
        value = torch.rand(down.shape, generator=generator) * 2 * bound - bound
        down.data = value.to(down.device)
        up.data = up.data.float()


def lora_layers(unet: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """peft's layers with their names, in the network's order."""
    return ((n, m) for n, m in unet.named_modules() if isinstance(m, LoraLayer))


def set_lora_scale(unet: nn.Module, name: str, scale: float) -> None:
    for _, layer in lora_layers(unet):
        layer.set_scale(name, scale)


def set_motion_scale(unet: nn.Module, scale: float) -> None:
    """The paper's alpha: 1 as trained (frozen), 0 off, below 0 more motion."""
    set_lora_scale(unet, MOTION, scale)


def lora_pairs(unet: nn.Module, name: str) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """(down, up) of the LoRA of a name, by diffusers layer name."""

    def weight(parts: nn.ModuleDict) -> nn.Parameter:
        return cast(nn.Parameter, parts[name].weight)

    layers = (item for item in lora_layers(unet) if name in item[1].lora_A)
    return {layer: (weight(m.lora_A), weight(m.lora_B)) for layer, m in layers}


def motion_pairs(unet: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """(down, up) of the Motion Adapter by diffusers layer name."""
    return lora_pairs(unet, MOTION)


class TemporalSwitch:
    """Lets every frame through the motion modules as it is while ``on`` is False.

    Then the network is the image model by itself (Customize-A-Video, A.1): there are no other
    temporal layers in AnimateDiff. To be made before whatever else wraps the modules.
    """

    def __init__(self, unet: UNetMotionModel, on: bool = True):
        self.on = on
        for module in unet.modules():
            if isinstance(module, AnimateDiffTransformer3D):
                module.forward = partial(self._run, module.forward)  # type: ignore[method-assign]

    def _run(
        self, forward: Callable[..., Tensor], frames: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        return forward(frames, *rest, **more) if self.on else frames


def load_motion_adapter(unet: UNetMotionModel, adapter: Adapter, origin: str) -> None:
    """Attach a finished Motion Adapter, held fixed. Raises UserError when its layers differ."""
    add_motion_adapter(unet, adapter.info.rank, seed=0)
    here = {keys.motion_to_animatediff(name): pair for name, pair in motion_pairs(unet).items()}
    copy_pairs(here, adapter, origin)
    for pair in here.values():
        for parameter in pair:
            parameter.requires_grad_(False)


def load_spatial_adapter(
    unet: UNetMotionModel, adapter: Adapter, layout: UNetLayout, origin: str
) -> SpatialAdapters:
    """Attach a finished Spatial Adapter, held fixed. Raises UserError when its sites differ."""
    adapters = SpatialAdapters(unet, adapter.info.sites, adapter.info.rank, seed=0)
    copy_pairs({layout.to_ldm(n): p for n, p in adapters.pairs().items()}, adapter, origin)
    first = next(unet.parameters())
    return adapters.requires_grad_(False).to(first.device)


def copy_pairs(
    here: dict[str, tuple[nn.Parameter, nn.Parameter]], adapter: Adapter, origin: str
) -> None:
    """Copy an adapter's numbers into attached parameters; every layer must have its partner."""
    missing, extra = set(here) - set(adapter.pairs), set(adapter.pairs) - set(here)
    if missing or extra:
        example = min(missing or extra)
        raise UserError(
            origin,
            f"{len(adapter.pairs)} layers, {len(missing)} missing and {len(extra)} unknown "
            f"(such as {example})",
            f"the {len(here)} layers of this network",
            "Use an adapter that was trained for this motion module and checkpoint.",
        )
    for name, (down, up) in here.items():
        pair = adapter.pairs[name]
        if pair.down.shape != down.shape or pair.up.shape != up.shape:
            raise UserError(
                origin,
                f"{name} of shape {tuple(pair.down.shape)}",
                f"{tuple(down.shape)}",
                "Use an adapter that was trained for this motion module and checkpoint.",
            )
        down.data.copy_(pair.down)
        up.data.copy_(pair.up)
