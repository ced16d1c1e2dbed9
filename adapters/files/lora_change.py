"""What a layer's parts in a LoRA file do to its weight: LoRA, LoHa, LoKr, DoRA, differences.

Formulas of LyCORIS (lycoris/functional), which ComfyUI's comfy/weight_adapter and peft share;
DoRA's are peft's and LyCORIS' own, normed after the change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError
from ..low_rank import LowRank
from .lora_keys import ALPHA, DOWN, MAGNITUDE, UP, UP_BIAS, form_of
from .lora_scale import Scales
from .metadata import AGAIN

Shape = Sequence[int]
_NEEDED = (
    {DOWN, UP},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    {"lokr_w1", "lokr_w2"},
    {"diff"},
    {"set_weight"},
)
_LOKR_HALVES = ("lokr_w1", "lokr_w2")
VECTORS = ("diff_b", "w_norm", "b_norm")  # of a bias or a norm: added as they are
_ALONE = (*VECTORS, ALPHA, MAGNITUDE, UP_BIAS, "reshape_weight")  # no factors of a matrix
_MOST = 2**26  # numbers of a matrix; SD1.5's largest layer has less than half of it


def rank_of(parts: Mapping[str, Tensor]) -> int | None:
    """The rank that alpha is divided by; None where whole matrices are multiplied."""
    for name in (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if name in parts and parts[name].ndim:
            return max(parts[name].shape[0], 1)
    return None


def has_matrix(parts: Mapping[str, Tensor]) -> bool:
    """Whether a layer's weight changes, and not its bias or norm alone."""
    return any(needed & _whole(parts) for needed in _NEEDED)


def refuse_half(file: Path, layer: str, parts: Mapping[str, Tensor]) -> None:
    """Raise UserError where a layer has one half of a change, or what is no number."""
    have = _whole(parts)
    changes = [needed for needed in _NEEDED if needed & have]
    begun = not changes and any(name not in VECTORS for name in have)
    if begun or any(not needed <= have for needed in changes):
        half = next((name for name in parts if name != ALPHA), ALPHA)
        raise UserError(file, f"only {half!r} of {layer!r}", "every part of each layer", AGAIN)
    for name, tensor in parts.items():
        if name not in (ALPHA, "reshape_weight") and not tensor.is_floating_point():
            raise _wrong(file, layer, parts, "floating-point tensors")


def pair_of(
    file: Path, layer: str, path: str, parts: Mapping[str, Tensor], scales: Scales
) -> LowRank:
    """A linear layer's change as a pair that holds its scale. Raises UserError for wrong shapes.

    layer: for messages; path: the layer's name in the file.
    """
    refuse_half(file, layer, parts)
    scale = 1.0 if "diff" in parts else scales.of(file, path, rank_of(parts), parts.get(ALPHA))
    if DOWN in parts:
        down, up = (_matrix(parts[name]) for name in (DOWN, UP))
        if down.ndim != 2 or up.ndim != 2 or not len(down) or down.shape[0] != up.shape[1]:
            raise _wrong(file, layer, parts, "floating-point (rank, in) and (out, rank)")
        # Copies, so that the file may be replaced or deleted while they are in use.
        return LowRank(down.clone(), up.clone() if scale == 1 else up.float() * scale)
    change = _matrix(_checked(file, layer, parts))
    if change.ndim != 2 or not change.numel():
        raise _wrong(file, layer, parts, "the change of a linear layer")
    down, up = _smallest_pair(change, {name: tensor.float() for name, tensor in parts.items()})
    return LowRank(down, up * scale)


def change_of(
    file: Path,
    layer: str,
    path: str,
    parts: Mapping[str, Tensor],
    scales: Scales,
    shape: Shape,
) -> Tensor:
    """What is added to a weight of this shape, in fp32. Raises UserError for another shape."""
    refuse_half(file, layer, parts)
    change = _checked(file, layer, parts)
    if change.numel() != math.prod(shape) or change.shape[0] != shape[0]:
        raise _wrong(file, layer, parts, f"a change of {tuple(shape)}", "another family")
    if "diff" in parts:
        return change.reshape(shape)
    return change.reshape(shape) * scales.of(file, path, rank_of(parts), parts.get(ALPHA))


def decomposed(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA (arXiv:2402.09353): the changed weight, with the learned norm of each row or column.

    weight, change: of one shape; magnitude: (out, ...) of one value a row, or (1, in, ...).
    """
    changed = weight + change
    rows = magnitude.numel() == changed.shape[0] and magnitude.shape[0] != 1
    flat = changed.flatten(1) if rows else changed.transpose(0, 1).flatten(1)
    norm = flat.norm(dim=1) + torch.finfo(changed.dtype).eps
    factor = magnitude.flatten().to(norm) / norm
    factor = factor[:, None] if rows else factor[None, :]
    return changed * factor.reshape(*factor.shape, *[1] * (changed.ndim - 2))


def fits_magnitude(magnitude: Tensor, shape: Shape) -> bool:
    """Whether DoRA's magnitudes are one a row, or one a column, of a weight of this shape."""
    return (
        len(shape) > 1
        and magnitude.ndim > 0
        and (
            (magnitude.numel() == shape[0] and magnitude.shape[0] == shape[0])
            or (magnitude.numel() == shape[1] and magnitude.shape[0] == 1)
        )
    )


def _whole(parts: Mapping[str, Tensor]) -> set[str]:
    """The names of a layer's parts, with those of LoKr's halves that come in two factors."""
    have = set(parts)
    return have | {half for half in _LOKR_HALVES if {f"{half}_a", f"{half}_b"} <= have}


def _checked(file: Path, layer: str, parts: Mapping[str, Tensor]) -> Tensor:
    """The change without its scale. Shapes are a stranger's: no room is taken for absurd ones."""
    if _numbers(parts) > _MOST:
        raise _wrong(file, layer, parts, f"at most {_MOST} numbers")
    try:
        return _unscaled({n: tensor.float() for n, tensor in parts.items() if n not in _ALONE})
    except (RuntimeError, IndexError, ValueError) as error:
        raise _wrong(file, layer, parts, "shapes that can be multiplied") from error


def _numbers(parts: Mapping[str, Tensor]) -> int:
    """How many numbers the change has, as far as its factors tell."""

    def outer(a: str, b: str, core: str) -> int:
        rank = max(parts[b].shape[0], 1) if parts[b].ndim else 1
        kernel = math.prod(parts[core].shape[2:]) if core in parts else 1
        return parts[a].numel() // rank * (parts[b].numel() // rank) * kernel

    if "diff" in parts:
        return parts["diff"].numel()
    if DOWN in parts:
        return outer(UP, DOWN, "mid")
    if "hada_w1_a" in parts:
        return max(outer(f"hada_w{i}_a", f"hada_w{i}_b", f"hada_t{i}") for i in (1, 2))
    return math.prod(
        parts[half].numel() if half in parts else outer(f"{half}_a", f"{half}_b", "lokr_t2")
        for half in _LOKR_HALVES
    )


def _unscaled(parts: Mapping[str, Tensor]) -> Tensor:
    if "diff" in parts:
        return parts["diff"]
    if DOWN in parts:
        return _low_rank(parts[DOWN], parts[UP], parts.get("mid"))
    if "hada_w1_a" in parts:
        halves = [
            _tucker(parts[f"hada_t{i}"], parts[f"hada_w{i}_a"], parts[f"hada_w{i}_b"])
            if f"hada_t{i}" in parts
            else parts[f"hada_w{i}_a"] @ parts[f"hada_w{i}_b"]
            for i in (1, 2)
        ]
        return halves[0] * halves[1]
    first, second = (_kron_half(parts, name) for name in _LOKR_HALVES)
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    return torch.kron(first, second.contiguous())


def _low_rank(down: Tensor, up: Tensor, mid: Tensor | None) -> Tensor:
    if mid is not None:  # LoCon's middle, of the convolution's size
        down = torch.einsum("oj...,ji->oi...", mid, down.flatten(1))
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _kron_half(parts: Mapping[str, Tensor], name: str) -> Tensor:
    if name in parts:
        return parts[name]
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    if name == "lokr_w2" and "lokr_t2" in parts:
        return _tucker(parts["lokr_t2"], a, b)
    return (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core: (rank, rank, kh, kw); a: (rank, out); b: (rank, in)."""
    return torch.einsum("ij...,jr,ip->pr...", core, b, a)


def _matrix(tensor: Tensor) -> Tensor:
    """Some tools store a linear layer's pair as 1x1 convolutions."""
    return tensor.flatten(1) if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor


def _smallest_pair(change: Tensor, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(down, up) of a linear layer's change, exactly: of few rows where its factors have few.

    (A B) * (C D), elementwise, has the rows b * d and the columns a * c of each two, and
    kron(W, A B) is kron(W, A) @ kron(1, B).
    """
    rows, columns = change.shape
    flat = all(t.ndim == 2 for n, t in parts.items() if n.startswith(("hada_", "lokr_")))
    if flat and "hada_w1_a" in parts:
        a, b, c, d = (parts[f"hada_w{i}_{half}"] for i in (1, 2) for half in "ab")
        if len(b) * len(d) < min(rows, columns):
            return (b[:, None] * d[None]).flatten(0, 1), (a[:, :, None] * c[:, None]).flatten(1)
    if flat and "lokr_w2_a" in parts and "lokr_w2" not in parts:
        first, b = _kron_half(parts, "lokr_w1"), parts["lokr_w2_b"]
        if first.shape[1] * len(b) < min(rows, columns):
            unit = torch.eye(first.shape[1])
            return torch.kron(unit, b), torch.kron(first, parts["lokr_w2_a"])
    # A whole matrix: itself, and an identity on its shorter side.
    return (change, torch.eye(rows)) if rows <= columns else (torch.eye(columns), change)


def _wrong(
    file: Path, layer: str, parts: Mapping[str, Tensor], expected: str, other: str = ""
) -> UserError:
    shapes = ", ".join(f"{n} {t.dtype} {tuple(t.shape)}" for n, t in parts.items() if n != ALPHA)
    found = f"{shapes} for {layer!r} ({form_of(parts)})".replace("torch.", "")
    advice = "Choose a LoRA of the network's own family." if other else AGAIN
    return UserError(file, found, expected, advice)
