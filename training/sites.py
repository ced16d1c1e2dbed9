"""Where adapters sit in the network and how they are attached, scaled, named and exported.

LoRA on temporal attention is peft's (lora_alpha = rank, so scale 1 is the paper's alpha 1). The
Spatial Adapter is ours: a low-rank map after a layer, added by forward hooks, so that the
network's own parameter names stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import torch
from diffusers import UNetMotionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..adapters import keys
from ..adapters.errors import UserError
from ..adapters.file import Adapter
from ..adapters.keys import UNetLayout
from ..adapters.low_rank import LowRank
from .recipe import Stage

TEMPORAL_QKV = r".*motion_modules\.\d+\.transformer_blocks\.\d+\.attn[12]\.to_[qkv]"
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
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TEMPORAL_QKV)
    inject_adapter_in_model(config, unet, adapter_name="motion")
    generator = torch.Generator().manual_seed(seed)
    for down, up in motion_pairs(unet).values():
        # peft draws from the global generator; a run must depend on its seed alone.
        bound = down.shape[1] ** -0.5
        value = torch.rand(down.shape, generator=generator) * 2 * bound - bound
        down.data = value.to(down.device)
        up.data = up.data.float()


def lora_layers(unet: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """peft's layers with their names, in the network's order."""
    return ((n, m) for n, m in unet.named_modules() if isinstance(m, LoraLayer))


def set_motion_scale(unet: nn.Module, scale: float) -> None:
    """The paper's alpha: 1 as trained (frozen), 0 off, below 0 more motion."""
    for _, layer in lora_layers(unet):
        layer.set_scale("motion", scale)


def motion_pairs(unet: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """(down, up) by diffusers layer name."""

    def weight(parts: nn.ModuleDict) -> nn.Parameter:
        return cast(nn.Parameter, parts["motion"].weight)

    return {name: (weight(m.lora_A), weight(m.lora_B)) for name, m in lora_layers(unet)}


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


class Trainable:
    """What a stage trains: named fp32 parameters, their scale switch and their export."""

    def __init__(self, unet: UNetMotionModel, stage: Stage, layout: UNetLayout, seed: int):
        self.unet, self.stage, self.layout = unet, stage, layout
        self.spatial: SpatialAdapters | None = None
        if stage.train == "temporal.qkv":
            add_motion_adapter(unet, stage.rank, seed)
        elif stage.train in ("spatial.layers", "spatial.blocks"):
            policy = stage.train.removeprefix("spatial.")
            self.spatial = SpatialAdapters(unet, policy, stage.rank, seed)
            self.spatial.to(next(unet.parameters()).device)
            self.spatial.set_scale(1.0)
        self.parameters = self._parameters()
        for parameter in self.parameters.values():
            # In fp32, because updates of 2e-5 vanish in half precision; a copy, because a network
            # in the file's own precision shares memory with the weights that were read.
            parameter.data = parameter.data.to(torch.float32, copy=True)
            parameter.requires_grad_(True)

    def _parameters(self) -> dict[str, nn.Parameter]:
        if self.stage.train == "spatial.all":
            return {n: p for n, p in self.unet.named_parameters() if is_spatial(n)}
        pairs = self.spatial.pairs() if self.spatial is not None else motion_pairs(self.unet)
        return {
            f"{name}.{part}": parameter
            for name, (down, up) in pairs.items()
            for part, parameter in (("down", down), ("up", up))
        }

    def low_rank(self, values: dict[str, Tensor]) -> dict[str, LowRank]:
        """Named values as pairs by file layer name: AnimateDiff's (motion) or LDM's (spatial)."""
        temporal = self.stage.train == "temporal.qkv"
        rename = keys.motion_to_animatediff if temporal else self.layout.to_ldm
        names = [n.removesuffix(".down") for n in values if n.endswith(".down")]
        return {rename(n): LowRank(values[f"{n}.down"], values[f"{n}.up"]) for n in names}


def is_spatial(parameter: str) -> bool:
    """Whether a parameter of the network belongs to the image model and not to time or LoRA."""
    return "motion_modules" not in parameter and "lora_" not in parameter


def set_scales(unet: nn.Module, stage: Stage, scales: dict[str, float]) -> None:
    """Set the Motion Adapter's scale for one sample; an adapter not named is off."""
    if stage.train == "temporal.qkv" or "motion" in stage.use:
        set_motion_scale(unet, scales.get("motion", 0.0))
