"""Motion LoRAs of any tool: which temporal layers they change, and how.

What is used in part is said in `notes`: image layers, text encoders and embeddings that came along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError
from ..low_rank import LowRank
from . import keys
from .kinds import is_motion
from .lora_change import fits_magnitude, has_matrix, pair_of, rank_of, refuse_half
from .lora_keys import (
    ALPHA,
    IDLE,
    MAGNITUDE,
    UP_BIAS,
    Parts,
    add_part,
    form_of,
    is_text,
    plain,
    take_apart,
    take_idle,
)
from .lora_scale import Scales, stated_scales
from .metadata import AGAIN

EXPECTED = "a LoRA, LoHa, LoKr or DoRA of temporal layers"


@dataclass
class MotionChanges:
    """By layers in AnimateDiff naming; pairs hold their scale.

    vectors: what biases and norms gain, by the names of their parameters; magnitudes: DoRA's, of
    the layers that have them; forms: what people call the file's changes; notes: for its user.
    """

    pairs: dict[str, LowRank] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    forms: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def read_changes(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> MotionChanges:
    """The changes of a file that holds low-rank adapters of temporal layers.

    Raises UserError, by its name, for an adapter of another arithmetic; for half a layer, a layer
    twice, shapes that do not fit, and a file without temporal layers.
    """
    layers, paths, left = _sorted(file, tensors)
    if not layers:
        raise UserError(file, _count(left), EXPECTED, "Load it as what it is, or choose another.")
    ranks = {paths[name]: rank for name, parts in layers.items() if (rank := rank_of(parts))}
    scales, notes = stated_scales(file, metadata, tensors, ranks)
    changes = MotionChanges(forms=tuple(sorted({form_of(parts) for parts in layers.values()})))
    for layer, parts in layers.items():
        if has_matrix(parts):
            pair = pair_of(file, layer, paths[layer], parts, scales)
            _refuse_other_shape(file, layer, pair)
            changes.pairs[layer] = pair
        else:
            refuse_half(file, layer, parts)
        _add_rest(file, changes, layer, paths[layer], parts, scales)
    changes.notes = notes + ([f"{file.name}: {_count(left)} left out"] if left else [])
    return changes


def _sorted(
    file: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Parts], dict[str, str], dict[str, list[str]]]:
    """(parts by temporal layer, each layer's name in the file, other keys by what they are)."""
    layers: dict[str, Parts] = {}
    paths: dict[str, str] = {}
    left: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        key = take_apart(name)
        if key is None or is_text(name):
            what = "of the text encoder" if is_text(name) else "of no LoRA"
            left.setdefault(what, []).append(name)
            continue
        try:
            layer = keys.motion_layer(plain(key.path))
        except KeyError:
            what = "of unknown temporal layers" if is_motion(name) else "of image layers"
            left.setdefault(what, []).append(name)
            continue
        other = key.other or ("set of whole weights" if key.part == "set_weight" else "")
        if other:
            raise UserError(
                file, f"a motion {other} ({name!r})", EXPECTED,
                "Merge it with the tool that made it, and save the difference as a LoRA.",
            )  # fmt: skip  # file, found, expected, next move
        # ComfyUI writes what a norm gains as a difference, too.
        part = "w_norm" if key.part == "diff" and tensor.ndim == 1 else key.part
        add_part(file, layers, layer, part, name, tensor)
        paths.setdefault(layer, key.module)
    if idle := take_idle(layers):
        left[IDLE] = [paths[layer] for layer in idle]
    return layers, paths, left


def _count(left: Mapping[str, list[str]]) -> str:
    return "; ".join(
        f"{len(names)} tensors {what}, first {names[0]!r}"
        + (" (the same file does them in Load LoRA)" if what == "of image layers" else "")
        for what, names in left.items()
    )


def _refuse_other_shape(file: Path, layer: str, pair: LowRank) -> None:
    out, inside = keys.channels_of(layer)
    if pair.up.shape[0] * inside != pair.down.shape[1] * out or not pair.up.numel():
        shapes = f"{tuple(pair.down.shape)} and {tuple(pair.up.shape)} for {layer!r}"
        expected = f"(rank, {inside} x channels) and ({out} x channels, rank)"
        raise UserError(file, shapes, expected, AGAIN)


def _add_rest(
    file: Path, changes: MotionChanges, layer: str, path: str, parts: Parts, scales: Scales
) -> None:
    """What a layer gains beside its pair: magnitudes, and vectors on biases and norms."""
    if MAGNITUDE in parts:
        magnitude = parts[MAGNITUDE]
        if not fits_magnitude(magnitude, changes.pairs[layer].shape):
            shape = f"magnitudes {tuple(magnitude.shape)} for {layer!r}"
            raise UserError(file, shape, f"those of {changes.pairs[layer].shape}", AGAIN)
        changes.magnitudes[layer] = magnitude.clone()
    if UP_BIAS in parts:
        scale = scales.of(file, path, rank_of(parts), parts.get(ALPHA))
        changes.vectors[f"{layer}.bias"] = parts[UP_BIAS].float() * scale
    for part, leaf in (("diff_b", "bias"), ("b_norm", "bias"), ("w_norm", "weight")):
        if part in parts:
            changes.vectors[f"{layer}.{leaf}"] = parts[part].clone()
