"""The motion layers among a file's tensors: any prefix, AnimateDiff's naming or diffusers'.

What a file holds beside them (the image layers of the official trainer's checkpoints, camera
encoders) is left out and named; what nobody knows is kept, and refused by who checks the names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...common import files
from ...common.errors import UserError
from ..positions import sinusoid
from . import keys

_MOTION = re.compile(rf"(?P<prefix>(?:[^.]+\.)*?){keys.MODULE}\.")
_PLACE = r"(?:(?:down|up)_blocks\.\d+|mid_block)"
# What else stands in such files, by what to call it.
_BESIDE = {
    "image layers": re.compile(
        rf"{_PLACE}\.(?:resnets|attentions|downsamplers|upsamplers)\..*"
        r"|(?:conv_in|conv_out|conv_norm_out|time_embedding|class_embedding|add_embedding)\..*"
    ),
    "a camera encoder (CameraCtrl)": re.compile(
        r"(?:.*\.)?pose_encoder\w*\..*|.*\.qkv_merge\.\w+|.*\.merge_\w+\.\w+"
    ),
    "camera layers (MotionCtrl)": re.compile(r".*\.cc_projection\.\w+"),
    "other parts of a pipeline": re.compile(
        r"(?:vae|text_encoder|first_stage_model|cond_stage_model|text_model|model_ema|ema)\..*"
    ),
    "settings": re.compile(
        r"(?:animatediff[._].*|scale|epoch|global_step|step|betas|alphas_cumprod\w*|logvar)"
    ),
}
CONFIGS = ("config.yaml", "../config.yaml")  # of the official trainer, beside or above its files
MOST_FRAMES = 10**6  # that a config may state; modules have 24, 32 or 64
# How far a table may be from the sinusoid that it rounds, in fp16 or bf16, and in fp8.
ROUNDING, COARSE_ROUNDING = 0.01, 0.08


@dataclass(frozen=True, eq=False)
class MotionLayers:
    """A file's motion layers in AnimateDiff naming.

    from_diffusers: whether the file has diffusers' names; has_image_layers: of a whole UNet; notes:
    what to say of what is left out.
    """

    tensors: dict[str, Tensor]
    from_diffusers: bool
    has_image_layers: bool
    notes: tuple[str, ...]


def motion_layers(path: Path, tensors: Mapping[str, Tensor]) -> MotionLayers:
    """Raises UserError for a module of an extension, whose layers have names of their own."""
    found = Counter(m["prefix"] for name in tensors if (m := _MOTION.match(name)))
    prefix = max(found, key=lambda p: found[p]) if found else ""
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    beside: Counter[str] = Counter()
    for name in list(own):
        what = next((w for w, pattern in _BESIDE.items() if pattern.fullmatch(name)), None)
        if what is not None:
            beside[what] += 1
            del own[name]
    notes = tuple(f"{count} tensors are left out: {what}." for what, count in beside.items())
    from_diffusers = not any(".temporal_transformer." in name for name in own)
    named = _to_animatediff(path, own) if from_diffusers else own
    return MotionLayers(named, from_diffusers, "image layers" in beside, notes)


def _to_animatediff(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    strange = []
    for name, tensor in tensors.items():
        try:
            if name.endswith(".pe"):
                named |= dict.fromkeys(keys.animatediff_positions(name), tensor)
            else:
                named[keys.motion_to_animatediff(name)] = tensor
        except KeyError:
            strange.append(name)
    if strange:
        raise UserError(
            path,
            f"a motion module with {len(strange)} keys that neither AnimateDiff nor diffusers has,"
            f" first {strange[0]!r} (HelloMeme and other extensions look like this)",
            "an AnimateDiff motion module for SD1.5",
            "Use mm_sd_v15_v2, v3_sd15_mm, an SD1.5 module made from them, or AnimateLCM.",
        )
    return named


def own_positions(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's position tables are not the sinusoids of AnimateDiff, but for rounding."""
    for name, table in tensors.items():
        if not name.endswith(".pe"):
            continue
        _, frames, width = table.shape
        most = COARSE_ROUNDING if table.dtype.itemsize == 1 else ROUNDING
        if not torch.allclose(table[0].float(), sinusoid(frames, width), rtol=0, atol=most):
            return True
    return False


def frames_of_config(path: Path) -> int | None:
    """The limit that diffusers keeps in the config.json beside a motion adapter."""
    try:
        frames = json.loads(files.read_text(path.parent / "config.json"))["motion_max_seq_length"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return frames if type(frames) is int and 0 < frames <= MOST_FRAMES else None


def trainer_settings(path: Path) -> tuple[int | None, bool | None]:
    """(rows of the position tables, norms per frame) in the official trainer's config.yaml.

    Its checkpoints have no tables (guoyww/AnimateDiff, motion_module.py: ``persistent=False``), and
    nothing in them tells how the resnets were normalized (unet.py: ``use_inflated_groupnorm``).
    """
    for name in CONFIGS:
        try:
            text = files.read_text(path.parent / name)
        except (OSError, UnicodeDecodeError):
            continue
        rows = re.search(r"temporal_position_encoding_max_len\s*:\s*(\d{1,6})(?!\d)", text)
        norms = re.search(r"use_inflated_groupnorm\s*:\s*(true|false)", text, re.IGNORECASE)
        if rows is not None:
            per_frame = norms is not None and norms[1].lower() == "true"
            return int(rows[1]) or None, per_frame
    return None, None
