"""The network: diffusers' UNetMotionModel, built offline from the two files an artist has.

Nothing here asks a hub for a configuration: every size is read from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNetMotionModel
from einops import rearrange
from torch import Tensor, nn

from ...adapters.files import keys
from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.motion_module import MotionModule
from ...adapters.positions import sinusoid
from ...common.errors import UserError

# AnimateDiff's noise schedule for v1 to v3 and AnimateLCM (ComfyUI calls it sqrt_linear).
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}
# What diffusers' schedulers call what a recipe says of the image model.
Schedule = Mapping[str, Any]
HEADS = 8  # of every attention, in SD1.5 and in AnimateDiff; no file says so


def schedule_of(prediction: str = "epsilon", zero_snr: bool = False) -> Schedule:
    """Settings of diffusers' schedulers for an image model that predicts epsilon or v."""
    return {**SCHEDULE, "prediction_type": prediction, "rescale_betas_zero_snr": zero_snr}


def build_unet(
    weights: UNetWeights, motion: MotionModule, dtype: torch.dtype, device: torch.device
) -> UNetMotionModel:
    """A frozen UNetMotionModel with the spatial layers of one file and the temporal of another.

    Raises RuntimeError if a tensor of either file finds no place: the readers have checked both
    files against their layouts, so that would be our mistake, not the file's.
    """
    state = {weights.layout.to_diffusers(k): v for k, v in weights.tensors.items()}
    state |= {
        keys.motion_to_diffusers(k): v
        for k, v in motion.tensors.items()
        if not k.endswith("pos_encoder.pe")
    }
    with torch.device("meta"):
        unet = UNetMotionModel(**_config(state, weights, motion))
    for name in unet.state_dict():
        if name.endswith("pos_embed.pe"):
            width = unet.get_parameter(name.split("transformer_blocks")[0] + "norm.weight").shape[0]
            state[name] = _positions(motion, name, width)
    # Taken over as they are, never copied twice: a full-size network is gigabytes.
    placed = {name: tensor.to(device, dtype) for name, tensor in state.items()}
    unet.load_state_dict(placed, strict=True, assign=True)
    per_frame_norms(unet)
    if motion.info.norm_across_frames:
        _resnet_norms_across_frames(unet)
    return unet.requires_grad_(False).eval()


def _positions(motion: MotionModule, name: str, width: int) -> Tensor:
    """A block's position table: (1, frames, width). Raises UserError where it would need two."""
    if not motion.info.own_positions:
        # The files hold the same sinusoid rounded to fp16 (or none at all: AnimateLCM).
        return sinusoid(motion.info.max_frames, width)[None]
    first, second = (motion.tensors[own] for own in keys.animatediff_positions(name))
    if not torch.equal(first, second):
        raise UserError(
            motion.name, f"two position tables in one block ({name})",
            "one for both attentions of a block, as diffusers has",
            "Train with another motion module: this one is for sampling.",
        )  # fmt: skip  # file, found, expected, next move
    return first.float()


def _config(state: dict[str, Tensor], weights: UNetWeights, motion: MotionModule) -> dict:
    layout = weights.layout
    levels = range(layout.levels)
    with_attention = [layout.attention[i] for i in levels]
    return {
        "block_out_channels": tuple(
            state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in levels
        ),
        "layers_per_block": layout.layers_per_block,
        "down_block_types": tuple(
            "CrossAttnDownBlockMotion" if a else "DownBlockMotion" for a in with_attention
        ),
        "up_block_types": tuple(
            "CrossAttnUpBlockMotion" if a else "UpBlockMotion" for a in reversed(with_attention)
        ),
        "cross_attention_dim": text_width(weights),
        "num_attention_heads": HEADS,
        "motion_num_attention_heads": HEADS,
        "motion_max_seq_length": motion.info.max_frames,
        "use_motion_mid_block": motion.info.has_mid_block,
    }


def text_width(weights: UNetWeights) -> int:
    """Width of the prompt embeddings that a checkpoint reads."""
    return next(v for k, v in weights.tensors.items() if k.endswith("attn2.to_k.weight")).shape[1]


class PerFrameNorm(nn.GroupNorm):
    """GroupNorm of (batch, channels, frames, height, width), each frame by itself.

    diffusers normalizes all frames together; AnimateDiff and ComfyUI do not. Adapters trained
    without this would be trained for another network than the one that runs.
    """

    def forward(self, input: Tensor) -> Tensor:
        frames = input.shape[2]
        flat = super().forward(rearrange(input, "b c f h w -> (b f) c h w"))
        return rearrange(flat, "(b f) c h w -> b c f h w", f=frames)


class AcrossFramesNorm(nn.GroupNorm):
    """GroupNorm of (frames, channels, height, width), all frames of one clip together.

    What the v1 motion modules were trained with in the resnets (``use_inflated_groupnorm:
    false``). ``predict`` gives it one clip at a time, so the batch is its frames.
    """

    def forward(self, input: Tensor) -> Tensor:
        joint = super().forward(rearrange(input, "f c h w -> 1 c (f h) w"))
        return rearrange(joint, "1 c (f h) w -> f c h w", f=input.shape[0])


def _renorm(norm: nn.GroupNorm, kind: type[nn.GroupNorm]) -> nn.GroupNorm:
    new = kind(norm.num_groups, norm.num_channels, norm.eps, device="meta")
    new.weight, new.bias = norm.weight, norm.bias
    return new


def per_frame_norms(unet: UNetMotionModel) -> None:
    """Make the norm of every motion module per frame, in place."""
    for name, module in unet.named_modules():
        if ".motion_modules." in f".{name}" and name.rsplit(".", 1)[-1].isdigit():
            norm = getattr(module, "norm", None)
            if isinstance(norm, nn.GroupNorm):
                module.norm = _renorm(norm, PerFrameNorm)


def _resnet_norms_across_frames(unet: UNetMotionModel) -> None:
    for name, module in unet.named_modules():
        if ".resnets." in name and name.rsplit(".", 1)[-1].isdigit():
            module.norm1 = _renorm(module.norm1, AcrossFramesNorm)
            module.norm2 = _renorm(module.norm2, AcrossFramesNorm)
    assert unet.conv_norm_out is not None  # only a UNet without groups has none
    unet.conv_norm_out = _renorm(unet.conv_norm_out, AcrossFramesNorm)


def predict(unet: UNetMotionModel, noisy: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    """What the network predicts of clips: their noise, or v.

    noisy: (batch, channels, frames, height, width); timestep: (batch,); text: (batch, tokens,
    dim), one prompt a clip, repeated over its frames as diffusers expects since 0.31.
    """
    if len(noisy) > 1 and isinstance(unet.conv_norm_out, AcrossFramesNorm):
        clips = zip(noisy.split(1), timestep.split(1), text.split(1), strict=True)
        return torch.cat([predict(unet, *clip) for clip in clips])
    per_frame = text.repeat_interleave(noisy.shape[2], dim=0)
    return unet(noisy, timestep, per_frame, return_dict=False)[0]
