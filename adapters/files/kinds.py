"""Telling what a file of tensors is by its keys, so that a wrong one is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from .embedding_forms import is_embedding
from .keys import unet_places
from .lora_keys import is_telling


class Kind(NamedTuple):
    """What a file is, in words that follow 'found', and what to do with it."""

    name: str
    next_move: str


Test = Callable[[Mapping[str, Tensor]], bool]

MOTION_LORA = Kind(
    "a motion LoRA or Motion Adapter",
    "Load it as a Motion Adapter; a motion module is the large file (0.8 to 1.8 GB) beside it.",
)
IMAGE_LORA = Kind("a LoRA for images", "Load it with ComfyUI's Load LoRA.")
SPATIAL_ADAPTER = Kind("a Spatial Adapter", "Load it as a Spatial Adapter.")
MOTION_MODULE = Kind("a motion module", "Load it as a motion module.")
CHECKPOINT = Kind("a Stable Diffusion checkpoint", "Load it as a checkpoint.")
MOTION_WEIGHTS = Kind("motion weights", "Load them with Apply Motion Weights.")
EMBEDDING = Kind(
    "a textual-inversion embedding",
    "Put it into ComfyUI's embeddings folder and write embedding:<its name> in the prompt.",
)
MOTION_UNET = Kind("a whole UNet with motion layers", "Load it as a motion module.")
UNET = Kind("an image UNet without motion layers", "Load it as a diffusion model.")
ONLY_SD15 = "Only SD1.5 motion modules work here: use mm_sd_v15_v2, v3_sd15_mm or AnimateLCM."


def kind_of(tensors: Mapping[str, Tensor]) -> Kind | None:
    """The first kind whose test the names pass, most particular first; None when unknown."""
    return next((kind for kind, test in KINDS if test(tensors)), None)


def _inside(*parts: str) -> Test:
    return lambda tensors: any(part in name for name in tensors for part in parts)


def _starting(*prefixes: str) -> Test:
    return lambda tensors: any(name.startswith(prefixes) for name in tensors)


def _ending(*suffixes: str) -> Test:
    return lambda tensors: any(name.endswith(suffixes) for name in tensors)


def _all(*tests: Test) -> Test:
    return lambda tensors: all(test(tensors) for test in tests)


def _not(test: Test) -> Test:
    return lambda tensors: not test(tensors)


def _nine_channels_in(tensors: Mapping[str, Tensor]) -> bool:
    weights = (t for name, t in tensors.items() if re.fullmatch(r"(?:.*\.)?conv_in\.weight", name))
    return any(weight.ndim == 4 and weight.shape[1] == 9 for weight in weights)


def _unet_under_a_prefix(tensors: Mapping[str, Tensor]) -> bool:
    if any(name.startswith(("model.diffusion_model.", "model_ema.")) for name in tensors):
        return True
    return any(unet_places(tensors))


def _lora(tensors: Mapping[str, Tensor]) -> bool:
    """Low-rank adapters, or their relatives: LoHa, LoKr, DoRA, OFT, plain differences."""
    return any(is_telling(name) for name in tensors)


def _motion_lora(tensors: Mapping[str, Tensor]) -> bool:
    return any(is_motion(name) and is_telling(name) for name in tensors)


def is_motion(name: str) -> bool:
    """Whether a key is of a temporal layer, in the naming of AnimateDiff, diffusers or HotShot."""
    return any(part in name for part in TEMPORAL_PARTS)


TEMPORAL_PARTS = ("motion_modules", "temporal_attentions")
MOTION = _inside(*TEMPORAL_PARTS)
MOTION_WEIGHTS_PREFIXES = ("temporal.", "image.")  # before the names of the layers

# Order matters: a file of an extension also holds what it extends.
KINDS: tuple[tuple[Kind, Test], ...] = (
    (MOTION_WEIGHTS, _starting(*MOTION_WEIGHTS_PREFIXES)),
    (EMBEDDING, is_embedding),
    (
        Kind(
            "a LoRA without the names of its layers (a list, as MotionDirector's .pt)",
            "Save it as safetensors with the tool that made it: that names them.",
        ),
        lambda tensors: all(name.isdigit() for name in tensors),
    ),
    (MOTION_LORA, _motion_lora),
    (
        Kind(
            "a network with a LoRA of peft that is not merged",
            "Merge it (peft's merge_and_unload), or save the LoRA alone (save_pretrained).",
        ),
        _all(_inside(".base_layer."), _lora),
    ),
    (IMAGE_LORA, _lora),
    (
        Kind("a Control-LoRA", "Load it with a ControlNet node."),
        _starting("lora_controlnet"),  # comfy/controlnet.py, load_controlnet_state_dict
    ),
    (
        SPATIAL_ADAPTER,
        _all(
            _starting("input_blocks.", "output_blocks.", "middle_block."), _ending(".down", ".up")
        ),
    ),
    (CHECKPOINT, _all(_unet_under_a_prefix, _not(MOTION))),
    (
        Kind("a ControlNet or SparseCtrl", "Load it with a ControlNet node."),
        _inside("controlnet_", "control_model.", "input_hint_block", "zero_convs"),
    ),
    (
        Kind("a FancyVideo model", f"It needs layers of its own. {ONLY_SD15}"),
        _inside("FancyVideo", "fps_embedding.", "motion_embedding."),
    ),
    (
        Kind("an AnimateLCM-I2V model (img_encoder)", f"It animates a given image. {ONLY_SD15}"),
        _starting("img_encoder."),
    ),
    (
        Kind("a HotShotXL motion module", f"It is for SDXL. {ONLY_SD15}"),
        _inside("temporal_attentions", "pos_encoder.positional_encoding"),
    ),
    (
        Kind("a PIA model (9 input channels)", f"It animates a given image. {ONLY_SD15}"),
        _all(MOTION, _nine_channels_in),
    ),
    (MOTION_UNET, _all(MOTION, _inside(".resnets.", ".attentions."))),
    (MOTION_MODULE, _inside("motion_modules")),
    (UNET, _starting("input_blocks.", "output_blocks.", "down_blocks.0.resnets.")),
    (
        Kind("a VAE", "Load it with ComfyUI's Load VAE."),
        _starting("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.", "decoder.mid."),
    ),
    (
        Kind("a text encoder", "Load it with ComfyUI's Load CLIP."),
        _starting("text_model.", "cond_stage_model.", "conditioner.", "transformer.text_model."),
    ),
)
