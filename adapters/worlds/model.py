"""A world's image model, and the shapes world's ControlNet, in ComfyUI's own classes for SD1.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.model_management
import comfy.ops
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher

from ...common.errors import UserError, lets_go
from ...worlds.known import EMOJI, SHAPES, WORLDS
from ...worlds.layout import LATENT_CHANNELS, WorldLayout
from ...worlds.shapes import latents
from ..files.checkpoint import BASES, recognize
from ..files.tensors import read_tensors
from ..host.companions import patcher_class
from .text import clip_target

CHECKPOINT_PREFIX = "model.diffusion_model."
CONTROL_PREFIX = "control_model."
# Of what a VAE gives, to what the network reads. The emoji world's is SD1.5's, as its VAE's file
# says, so that whatever knows SD1.5's latents knows these.
SCALES = {SHAPES.name: 1.0, EMOJI.name: comfy.latent_formats.SD15().scale_factor}


def unet_config(world: WorldLayout) -> dict[str, Any]:
    """What ComfyUI's UNet is to look like: one residual block and one transformer on each level."""
    levels = len(world.channels)
    return {
        "image_size": 32,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "model_channels": world.channels[0],
        "num_res_blocks": [1] * levels,
        "channel_mult": list(world.multiples),
        "transformer_depth": [1] * levels,
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1] * 2 * levels,
        "use_spatial_transformer": True,
        "context_dim": world.words.dim,
        "use_linear_in_transformer": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "adm_in_channels": None,
        "legacy": False,
    }


# The ControlNet has no attention; below 0, ComfyUI leaves it out of the middle as well.
CONTROL_CONFIG = unet_config(SHAPES) | {
    "transformer_depth": [0, 0],
    "transformer_depth_middle": -1,
    "hint_channels": 3,
    "num_heads": 8,
    "num_head_channels": -1,
}


class WorldLatents(comfy.latent_formats.SD15):
    """SD1.5's geometry. All worlds' latents hold small pictures by one map, for previews."""

    def __init__(self, scale_factor: float) -> None:
        super().__init__(scale_factor=scale_factor)
        # decode_world takes a latent to 0..1, previews are in -1..1.
        colours = 2 * latents.decode_world(torch.eye(4)[..., None, None] * 0.5) - 1
        self.latent_rgb_factors = (2 * colours[..., 0, 0]).tolist()
        self.taesd_decoder_name = None


class WorldModel(comfy.supported_models.SD15):
    """SD1.5 with the sizes of a world, and the schedule that all of them were trained on."""

    # ComfyUI's name for AnimateDiff's linear betas; "linear" there is SD's schedule.
    sampling_settings: ClassVar[dict[str, Any]] = {
        "beta_schedule": "sqrt_linear",
        "linear_start": 0.00085,
        "linear_end": 0.012,
    }

    def __init__(self, unet_config: dict[str, Any]) -> None:
        super().__init__(unet_config)
        base, *_ = BASES[unet_config["model_channels"], unet_config["context_dim"]]
        self.world = WORLDS[base]
        self.latent_format = WorldLatents(SCALES[base])

    def clip_target(self, state_dict: Any = None) -> comfy.supported_models_base.ClipTarget:
        return clip_target(self.world)


@lets_go
def load_model(path: Path | str, disable_dynamic: bool = False) -> ModelPatcher:
    """An image model's file as a MODEL. disable_dynamic: with ComfyUI's plain memory management."""
    management = comfy.model_management
    tensors = _tensors(Path(path), CHECKPOINT_PREFIX)
    config = WorldModel(unet_config(WORLDS[recognize(path, tensors)[1]]))
    kinds = list(config.supported_inference_dtypes)
    dtype = management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(tensors),
        supported_dtypes=kinds,
        weight_dtype=comfy.utils.weight_dtype(tensors),
    )
    device, offload = management.get_torch_device(), management.unet_offload_device()
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, kinds))
    model = config.get_model(tensors, "", device=offload)
    model.load_model_weights(tensors, "")
    kind = patcher_class(disable_dynamic)
    patcher: Any = kind(model, load_device=device, offload_device=offload)
    # How ComfyUI makes a second copy: for hooks, and for a second GPU.
    patcher.cached_patcher_init = (load_model, (path,))
    return patcher


@lets_go
def load_controlnet(path: Path | str) -> comfy.controlnet.ControlNet:
    """The outline ControlNet's file as a CONTROL_NET. Its hint is 8 times the latent's size."""
    management = comfy.model_management
    tensors = _tensors(Path(path), CONTROL_PREFIX)
    device = management.get_torch_device()
    dtype = management.unet_dtype(model_params=-1, weight_dtype=torch.float16)
    cast = management.unet_manual_cast(dtype, device)
    model = comfy.cldm.cldm.ControlNet(
        **CONTROL_CONFIG,
        dtype=dtype,
        device=management.unet_offload_device(),
        operations=comfy.ops.pick_operations(dtype, cast),
    )
    model.load_state_dict(tensors)
    return comfy.controlnet.ControlNet(model.eval(), load_device=device, manual_cast_dtype=cast)


def _tensors(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UserError(
            path.name,
            "no such file in the pack",
            f"what the pack ships in {path.parent.parent.name}/{path.parent.name}",
            "Install the pack again.",
        )
    tensors, _ = read_tensors(path)
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
