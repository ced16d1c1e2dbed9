"""Motion-module files: recognise which one it is, refuse others by name, and normalise the keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError, lets_go
from ...worlds.known import WORLDS
from . import keys, kinds
from .motion_names import (
    MotionLayers,
    frames_of_config,
    motion_layers,
    own_positions,
    trainer_settings,
)
from .motion_parts import Part, hash_of, name_of, of_merged_file
from .templates import module_shapes
from .tensors import file_hash, read_tensors, refuse_non_finite, refuse_wrong_names

SD15 = (320, 640, 1280, 1280)
SDXL = (320, 640, 1280)
WORLD_OF = {world.channels: world.name for world in WORLDS.values()}
# Motion modules per down block; an up block has one more.
LAYERS = {SD15: 2, **dict.fromkeys(WORLD_OF, 1)}

V1_FRAMES = 24
LCM_FRAMES = 64
DIFFUSERS_FRAMES = 32  # diffusers' default, for a file with neither positions nor a config

EXPECTED = "an SD1.5 AnimateDiff motion module (v1, v2, v3 or AnimateLCM)"
NEXT_MOVE = "Use mm_sd_v15_v2, v3_sd15_mm, an SD1.5 module made from them, or AnimateLCM."


@dataclass(frozen=True)
class MotionModuleInfo:
    """What a motion module is, read from its keys and shapes.

    version: "v1", "v2", "v3", "AnimateLCM" or a world's name; channels: per level, finest
    first; norm_across_frames: the image UNet's residual blocks, and its last norm, must normalise
    over all frames at once, as v1 was trained; own_positions: its position tables are no sinusoids,
    so that the file's are used.
    """

    version: str
    channels: tuple[int, ...]
    has_mid_block: bool
    max_frames: int
    norm_across_frames: bool
    own_positions: bool = False


@dataclass(frozen=True, eq=False)
class MotionModule:
    """A motion module's tensors in AnimateDiff naming, with the dtype of the file.

    hash: sha256 of the file; name: the file's name; notes: what to say of what is left out. Of a
    merged one, hash and name say what it was merged from. Position tables may be absent
    (AnimateLCM): they are the plain sinusoid of `info.max_frames` rows. content: sha256 of the
    one file, empty where there is none.
    """

    info: MotionModuleInfo
    tensors: dict[str, Tensor]
    hash: str
    name: str
    notes: tuple[str, ...] = ()
    content: str = ""


@lets_go
def read_motion_module(path: Path | str) -> MotionModule:
    """Read and check a motion module; raises UserError for any file that is not one."""
    path = Path(path)
    tensors, metadata = read_tensors(path)
    _refuse_other_kinds(path, tensors)
    layers = motion_layers(path, tensors)
    info, guess = _info(path, layers)
    refuse_non_finite(path, layers.tensors)
    info = replace(info, own_positions=own_positions(layers.tensors))
    content = file_hash(path)
    parts = of_merged_file(path, metadata) or (Part(path, content, path.name),)
    known_by = hash_of(parts), name_of(parts)
    return MotionModule(info, layers.tensors, *known_by, layers.notes + guess, content)


def recognize(path: Path | str, tensors: Mapping[str, Tensor]) -> MotionModuleInfo:
    """Which motion module these tensors are, by names and shapes alone.

    tensors: in AnimateDiff's naming or diffusers'. Raises UserError for another kind of file, by
    its name, and for keys that are missing, unexpected or of a wrong shape.
    """
    path = Path(path)
    _refuse_other_kinds(path, tensors)
    return _info(path, motion_layers(path, tensors))[0]


def _refuse_other_kinds(path: Path, tensors: Mapping[str, Tensor]) -> None:
    kind = kinds.kind_of(tensors)
    if kind not in (kinds.MOTION_MODULE, kinds.MOTION_UNET):
        found = (
            kind.name if kind else f"{len(tensors)} other tensors, first {next(iter(tensors))!r}"
        )
        raise UserError(path, found, EXPECTED, kind.next_move if kind else NEXT_MOVE)


def _info(path: Path, layers: MotionLayers) -> tuple[MotionModuleInfo, tuple[str, ...]]:
    """Also what to say where a file does not tell what it is."""
    named = layers.tensors
    channels = _channels(path, named)
    has_mid_block = any(name.startswith("mid_block.") for name in named)
    tables = [t for name, t in named.items() if name.endswith(".pe") and t.ndim == 3]
    frames, across, guess = tables[0].shape[1] if tables else 0, None, ()
    if not tables and layers.from_diffusers:
        frames = frames_of_config(path) or DIFFUSERS_FRAMES
    elif not tables and has_mid_block and not layers.has_image_layers:
        frames, across = LCM_FRAMES, False
    elif not tables:
        frames, across, guess = _without_tables(path, layers, has_mid_block)
    if across is None:
        across = not has_mid_block and frames == V1_FRAMES
    shapes = module_shapes(channels, LAYERS[channels], has_mid_block, frames if tables else None)
    refuse_wrong_names(path, named, shapes, EXPECTED)
    version = "v2" if has_mid_block else "v1" if across else "v3"
    if channels in WORLD_OF:
        version, across = WORLD_OF[channels], False
    elif not (tables or layers.from_diffusers or layers.has_image_layers) and has_mid_block:
        version = "AnimateLCM"
    return MotionModuleInfo(version, channels, has_mid_block, frames, across), guess


def _without_tables(
    path: Path, layers: MotionLayers, has_mid_block: bool
) -> tuple[int, bool, tuple[str, ...]]:
    """(most frames, whether norms are over all frames, what to say) of the official trainer's."""
    rows, per_frame = trainer_settings(path)
    if rows is not None:
        return rows, not (has_mid_block or per_frame), ()
    # Its settings as it comes (configs/training/v1/training.yaml); v3 where only layers are kept.
    as_v1 = layers.has_image_layers and not has_mid_block
    frames = V1_FRAMES if as_v1 else DIFFUSERS_FRAMES
    kind = "v1" if as_v1 else "v2" if has_mid_block else "v3"
    guess = (
        f"It does not say how long its clips may be: taken for {kind} with {frames} frames. Put"
        " the trainer's config.yaml beside it to be sure."
    )
    return frames, as_v1, (guess,)


def to_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A motion module's tensors renamed for diffusers; the two equal position tables become one."""
    return {keys.motion_to_diffusers(name): tensor for name, tensor in tensors.items()}


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
