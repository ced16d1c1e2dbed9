"""The shapes world's image model and ControlNet, in ComfyUI's own classes for SD1.5."""

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

from ...adapters.files.tensors import read_tensors
from ...adapters.host.companions import patcher_class
from ...common.errors import UserError, lets_go
from ...worlds.shapes import latents
from .text import ShapesTextModel, ShapesTokenizer

CHECKPOINT_PREFIX = "model.diffusion_model."
CONTROL_PREFIX = "control_model."
CHANNELS = 64

UNET_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": latents.CHANNELS,
    "out_channels": latents.CHANNELS,
    "model_channels": CHANNELS,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "use_spatial_transformer": True,
    "context_dim": latents.TEXT_DIM,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "adm_in_channels": None,
    "legacy": False,
}
# The ControlNet has no attention; below 0, ComfyUI leaves it out of the middle as well.
CONTROL_CONFIG = UNET_CONFIG | {
    "transformer_depth": [0, 0],
    "transformer_depth_middle": -1,
    "hint_channels": 3,
    "num_heads": 8,
    "num_head_channels": -1,
}


class ShapesLatents(comfy.latent_formats.SD15):
    """SD1.5's geometry; the world's latents need no scale, and previews of them are exact."""

    def __init__(self) -> None:
        super().__init__(scale_factor=1.0)
        # decode_world takes a latent to 0..1, previews are in -1..1.
        colours = 2 * latents.decode_world(torch.eye(4)[..., None, None] * 0.5) - 1
        self.latent_rgb_factors = (2 * colours[..., 0, 0]).tolist()
        self.taesd_decoder_name = None


class ShapesWorld(comfy.supported_models.SD15):
    """SD1.5 with the sizes of the shapes world, and the schedule that it was trained on."""

    unet_config: ClassVar[dict[str, Any]] = {
        "context_dim": latents.TEXT_DIM,
        "model_channels": CHANNELS,
    }
    latent_format = ShapesLatents
    # ComfyUI's name for AnimateDiff's linear betas; "linear" there is SD's schedule.
    sampling_settings: ClassVar[dict[str, Any]] = {
        "beta_schedule": "sqrt_linear",
        "linear_start": 0.00085,
        "linear_end": 0.012,
    }

    def clip_target(self, state_dict: Any = None) -> comfy.supported_models_base.ClipTarget:
        return comfy.supported_models_base.ClipTarget(ShapesTokenizer, ShapesTextModel)


@lets_go
def load_model(path: Path | str, disable_dynamic: bool = False) -> ModelPatcher:
    """An image model's file as a MODEL. disable_dynamic: with ComfyUI's plain memory management."""
    management = comfy.model_management
    tensors = _tensors(Path(path), CHECKPOINT_PREFIX)
    config = ShapesWorld(UNET_CONFIG)
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
            "the shapes world's weights in worlds/shapes/weights",
            "Install the pack again, or run make weights.",
        )
    tensors, _ = read_tensors(path)
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
