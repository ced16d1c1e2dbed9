"""Motion-module files: recognise which one it is, refuse others by name, and normalise the keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...common import files
from ...common.errors import UserError, lets_go
from . import keys, kinds
from .templates import module_shapes
from .tensors import file_hash, read_tensors, refuse_non_finite, refuse_wrong_names

SD15 = (320, 640, 1280, 1280)
SDXL = (320, 640, 1280)
SHAPES = (64, 64)
LAYERS = {SD15: 2, SHAPES: 1}  # motion modules per down block; an up block has one more

V1_FRAMES = 24
LCM_FRAMES = 64
DIFFUSERS_FRAMES = 32  # diffusers' default, for a file with neither positions nor a config

EXPECTED = "an SD1.5 AnimateDiff motion module (v1, v2, v3 or AnimateLCM)"
NEXT_MOVE = "Use mm_sd_v15_v2, v3_sd15_mm, an SD1.5 module made from them, or AnimateLCM."


@dataclass(frozen=True)
class MotionModuleInfo:
    """What a motion module is, read from its keys and shapes.

    version: "v1", "v2", "v3", "AnimateLCM" or "shapes" (the demo's); channels: per level, finest
    first; norm_across_frames: the image UNet's residual blocks, and its last norm, must normalise
    over all frames at once, as v1 was trained.
    """

    version: str
    channels: tuple[int, ...]
    has_mid_block: bool
    max_frames: int
    norm_across_frames: bool


@dataclass(frozen=True, eq=False)
class MotionModule:
    """A motion module's tensors in AnimateDiff naming, with the dtype of the file.

    hash: sha256 of the file; name: the file's name. Position tables may be absent (AnimateLCM):
    they are the plain sinusoid of `info.max_frames` rows.
    """

    info: MotionModuleInfo
    tensors: dict[str, Tensor]
    hash: str
    name: str


@lets_go
def read_motion_module(path: Path | str) -> MotionModule:
    """Read and check a motion module; raises UserError for any file that is not one."""
    path = Path(path)
    tensors, _ = read_tensors(path)
    info = recognize(path, tensors)
    refuse_non_finite(path, tensors)
    return MotionModule(info, _to_animatediff(path, tensors), file_hash(path), path.name)


def recognize(path: Path | str, tensors: Mapping[str, Tensor]) -> MotionModuleInfo:
    """Which motion module these tensors are, by names and shapes alone.

    tensors: in AnimateDiff's naming or diffusers'. Raises UserError for another kind of file, by
    its name, and for keys that are missing, unexpected or of a wrong shape.
    """
    path = Path(path)
    kind = kinds.kind_of(tensors)
    if kind is not kinds.MOTION_MODULE:
        found = (
            kind.name if kind else f"{len(tensors)} other tensors, first {next(iter(tensors))!r}"
        )
        raise UserError(path, found, EXPECTED, kind.next_move if kind else NEXT_MOVE)
    from_diffusers = not any(".temporal_transformer." in name for name in tensors)
    named = _to_animatediff(path, tensors)
    channels = _channels(path, named)
    has_mid_block = any(name.startswith("mid_block.") for name in named)
    positions = [t for name, t in named.items() if name.endswith(".pe") and t.ndim == 3]
    if positions:
        frames = positions[0].shape[1]
    else:
        frames = _frames_of_config(path) if from_diffusers else LCM_FRAMES
    shapes = module_shapes(channels, LAYERS[channels], has_mid_block, frames if positions else None)
    refuse_wrong_names(path, named, shapes, EXPECTED)
    if channels == SHAPES:
        version = "shapes"
    elif not positions and not from_diffusers:
        version = "AnimateLCM"
    elif has_mid_block:
        version = "v2"
    else:
        version = "v1" if frames == V1_FRAMES else "v3"
    return MotionModuleInfo(version, channels, has_mid_block, frames, version == "v1")


def to_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A motion module's tensors renamed for diffusers; the two equal position tables become one."""
    return {keys.motion_to_diffusers(name): tensor for name, tensor in tensors.items()}


def _to_animatediff(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(".temporal_transformer." in name for name in tensors):
        return dict(tensors)
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
            EXPECTED,
            NEXT_MOVE,
        )
    return named


def _channels(path: Path, named: Mapping[str, Tensor]) -> tuple[int, ...]:
    pattern = r"down_blocks\.(\d+)\.motion_modules\.0\.temporal_transformer\.norm\.weight"
    norms = [(m, tensor) for name, tensor in named.items() if (m := re.fullmatch(pattern, name))]
    norms.sort(key=lambda item: int(item[0][1]))
    channels = tuple(tensor.numel() for _, tensor in norms)
    if channels == SDXL:
        found, advice = (
            "an SDXL motion module (AnimateDiff SDXL beta or like it)",
            kinds.ONLY_SD15,
        )
    elif channels not in LAYERS:
        found, advice = (f"a motion module with {channels or 'no'} channels per level", NEXT_MOVE)
    else:
        return channels
    raise UserError(path, found, f"{EXPECTED}, with {SD15} channels", advice)


def _frames_of_config(path: Path) -> int:
    """The limit that diffusers keeps in the config.json beside a motion adapter."""
    try:
        config = json.loads(files.read_text(path.parent / "config.json"))
        frames = config["motion_max_seq_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return DIFFUSERS_FRAMES
    return frames if isinstance(frames, int) and frames > 0 else DIFFUSERS_FRAMES
