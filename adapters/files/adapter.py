"""Adapter files: a Motion or a Spatial Adapter's pairs, and where they came from.

A Motion Adapter is an AnimateDiff motion LoRA by its key names, so other tools load it too. A
Spatial Adapter keeps `<LDM layer>.down` and `<LDM layer>.up`. What trained it, and on what, is
text in the safetensors metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from ..low_rank import LowRank
from . import kinds
from .keys import motion_lora_keys
from .metadata import AGAIN, FORMAT, MARK, UNKNOWN, stated_fields, to_metadata
from .motion_lora import MotionChanges, read_changes
from .tensors import read_tensors, refuse_non_finite, write_tensors

AdapterKind = Literal["motion", "spatial"]
IN_WORDS = {"motion": "a Motion Adapter", "spatial": "a Spatial Adapter"}

SPATIAL_PLACES = ("input_blocks.", "middle_block.", "output_blocks.")


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter is, and what it was trained on.

    sites: the recipe's policy ("temporal.qkv", "layers", "blocks"); base: "sd15" or a world's name;
    motion_module, checkpoint: sha256 of the files, "unknown" for an adapter of another tool;
    fingerprint: of the checkpoint's UNet, comparable where no file is at hand; recipe: JSON text.
    """

    kind: AdapterKind
    rank: int
    sites: str
    base: str = UNKNOWN
    motion_module: str = UNKNOWN
    checkpoint: str | None = None
    steps: int = 0
    recipe: str = "{}"
    motion_module_name: str = UNKNOWN
    checkpoint_name: str | None = None
    fingerprint: str = UNKNOWN
    format: int = FORMAT


@dataclass
class Adapter:
    """pairs: by layer, in AnimateDiff's naming (motion) or LDM's (spatial, without prefix).

    The rest is of other tools' motion LoRAs, as in `motion_lora.MotionChanges`.
    """

    info: AdapterInfo
    pairs: dict[str, LowRank] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    forms: tuple[str, ...] = ("LoRA",)
    notes: list[str] = field(default_factory=list)


def save_adapter(path: Path | str, adapter: Adapter, dtype: torch.dtype = torch.float32) -> None:
    """Write an adapter file whole or not at all; raises UserError where it cannot be written."""
    tensors: dict[str, Tensor] = {}
    for layer, pair in adapter.pairs.items():
        down, up = _pair_keys(layer, adapter.info.kind)
        tensors |= {down: pair.down.to(dtype), up: pair.up.to(dtype)}
    refuse_non_finite(path, tensors)
    write_tensors(path, tensors, to_metadata(adapter.info))


@lets_go
def load_adapter(
    path: Path | str, kind: AdapterKind | None = None, pairs_only: bool = True
) -> Adapter:
    """Read an adapter file, or a motion LoRA of another tool.

    Pairs keep the file's dtype, or have fp32 where a scale was multiplied in. kind: refuse the
    other one; pairs_only: refuse, by its name, what needs more than pairs. Raises UserError for
    anything but a whole, finite adapter.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    actual = _kind(path, tensors, metadata, kind)
    if kind not in (None, actual):
        advice = f"Load it as {IN_WORDS[actual]}, or choose another file."
        raise UserError(path, IN_WORDS[actual], IN_WORDS[kind], advice)
    refuse_non_finite(path, tensors)
    if actual == "motion":
        changes = read_changes(path, tensors, metadata)
        if pairs_only:
            _refuse_more(path, changes)
        more = (changes.vectors, changes.magnitudes, changes.forms, changes.notes)
        return Adapter(_info(path, actual, changes.pairs, metadata), changes.pairs, *more)
    parts = _spatial_parts(path, tensors)
    pairs = {layer: _pair(path, layer, named) for layer, named in parts.items()}
    return Adapter(_info(path, actual, pairs, metadata), pairs)


def _pair_keys(layer: str, kind: AdapterKind) -> tuple[str, str]:
    return motion_lora_keys(layer) if kind == "motion" else (f"{layer}.down", f"{layer}.up")


def _kind(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], wanted: str | None
) -> AdapterKind:
    recognized = kinds.kind_of(tensors)
    if recognized is kinds.MOTION_LORA:
        return "motion"
    if recognized is kinds.SPATIAL_ADAPTER:
        return "spatial"
    # A damaged name must not hide what our own metadata says.
    stated = metadata.get(f"{MARK}kind")
    if stated in ("motion", "spatial"):
        return stated
    found = f"{len(tensors)} other tensors, first {next(iter(tensors))!r}"
    if recognized:
        found = recognized.name
    advice = recognized.next_move if recognized else "Choose another file, or train an adapter."
    expected = IN_WORDS[wanted] if wanted else "a Motion or Spatial Adapter"
    raise UserError(path, found, expected, advice)


def _refuse_more(path: Path, changes: MotionChanges) -> None:
    more = [*changes.magnitudes, *changes.vectors]
    if more:
        raise UserError(
            path, f"a motion LoRA with more than pairs ({', '.join(changes.forms)}; {more[0]!r})",
            "one of pairs alone", "Use it with Apply Motion Adapter, or train from a plain LoRA.",
        )  # fmt: skip  # file, found, expected, next move


def _spatial_parts(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part not in ("down", "up") or not layer.startswith(SPATIAL_PLACES):
            raise _strange(path, name, "'<layer>.down' and '<layer>.up' of UNet layers only")
        parts.setdefault(layer, {})[part] = tensor
    return parts


def _pair(path: Path, layer: str, parts: Mapping[str, Tensor]) -> LowRank:
    if not {"down", "up"} <= parts.keys():
        half = next(iter(parts))
        raise UserError(
            path, f"only {half!r} of {layer!r}", "both down and up of every layer", AGAIN
        )
    # Copies, so that the file may be replaced or deleted while the adapter is in use.
    down, up = parts["down"].clone(), parts["up"].clone()
    if not _is_pair(down, up):
        found = f"{down.dtype} {tuple(down.shape)} and {up.dtype} {tuple(up.shape)} for {layer!r}"
        expected = "floating-point (rank, channels) and (channels, rank)"
        raise UserError(path, found, expected, AGAIN)
    return LowRank(down, up)


def _is_pair(down: Tensor, up: Tensor) -> bool:
    """Every layer that an adapter sits on, or after, has as many channels out as the map needs."""
    floats = down.is_floating_point() and up.is_floating_point()
    return floats and down.ndim == 2 and down.numel() > 0 and up.shape == down.shape[::-1]


def _strange(path: Path, name: str, expected: str) -> UserError:
    return UserError(path, f"the key {name!r}", expected, AGAIN)


def _info(
    path: Path, kind: AdapterKind, pairs: Mapping[str, LowRank], metadata: Mapping[str, str]
) -> AdapterInfo:
    stated = stated_fields(path, metadata, AdapterInfo)
    rank = max((pair.rank for pair in pairs.values()), default=0)
    return AdapterInfo(**{"sites": UNKNOWN, **stated, "kind": kind, "rank": rank})
