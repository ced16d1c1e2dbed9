"""LoRA on the network, the Motion Adapter among them: attached, scaled, named and filled.

It is peft's, with lora_alpha = rank: scale 1 is the paper's alpha 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from diffusers import UNetMotionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from ...adapters.files import keys
from ...adapters.files.adapter import Adapter
from ...common.errors import UserError
from ..recipes.sites import MOTION, MOTION_LORA, LoraSite


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


def load_motion_adapter(unet: UNetMotionModel, adapter: Adapter, origin: str) -> None:
    """Attach a finished Motion Adapter, held fixed. Raises UserError when its layers differ."""
    add_motion_adapter(unet, adapter.info.rank, seed=0)
    here = {keys.motion_to_animatediff(name): pair for name, pair in motion_pairs(unet).items()}
    copy_pairs(here, adapter, origin)
    for pair in here.values():
        for parameter in pair:
            parameter.requires_grad_(False)


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
