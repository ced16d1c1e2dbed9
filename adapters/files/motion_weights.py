"""Motion weights: a motion that was learned in full, as a file, and at an amount in a network.

VMC tunes the temporal attention in full, NewMove (arXiv:2312.04966) all temporal layers with the
keys and values of spatial cross-attention: more than a low-rank pair holds. The file keeps what
was changed, as differences: in half precision those lose nothing that the weights would keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from ..low_rank import wide
from . import kinds
from .keys import MODULE
from .metadata import AGAIN, FORMAT, MARK, UNKNOWN, stated_fields, to_metadata
from .tensors import read_tensors, refuse_non_finite, write_tensors

Form = Literal["difference", "whole"]
KIND = "motion weights"
# Names in the file: AnimateDiff's for a motion module's tensors, LDM's for the image model's.
TEMPORAL, IMAGE = kinds.MOTION_WEIGHTS_PREFIXES
_IMAGE_LAYER = re.compile(r"(input_blocks|middle_block|output_blocks)\..+\.attn2\.to_[kv]\.weight")
EXPECTED = "motion weights of this pack"


@dataclass(frozen=True)
class MotionWeightsInfo:
    """What motion weights are, and what they were trained on.

    sites: the recipe's, such as "temporal.all+kv"; form: "difference" to add, or "whole" to take
    the place of the network's own; base: "sd15" or a world's name; motion_module, checkpoint:
    sha256 of the files; token: the word that calls the motion, if it has one; recipe: JSON text.
    """

    sites: str
    form: Form = "difference"
    base: str = UNKNOWN
    motion_module: str = UNKNOWN
    motion_module_name: str = UNKNOWN
    checkpoint: str = UNKNOWN
    checkpoint_name: str = UNKNOWN
    steps: int = 0
    token: str = ""
    recipe: str = "{}"
    format: int = FORMAT


@dataclass
class MotionWeights:
    """tensors: by the names of AnimateDiff (temporal) and LDM (image model), without prefix."""

    info: MotionWeightsInfo
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def between(
        cls, info: MotionWeightsInfo, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
    ) -> MotionWeights:
        """From a network's tensors before and after training, by their file names.

        before may hold more. Differences are taken in fp32.
        """
        if info.form == "whole":
            return cls(info, {name: tensor.float() for name, tensor in after.items()})
        return cls(info, {n: t.float() - before[n].float().to(t.device) for n, t in after.items()})

    def part(self, temporal: bool) -> dict[str, Tensor]:
        """The motion module's tensors, or the image model's."""
        return {n: t for n, t in self.tensors.items() if is_temporal(n) == temporal}


def is_temporal(name: str) -> bool:
    """Whether a tensor of these names belongs to the motion module."""
    return ".motion_modules." in name


def apply_motion_weights(
    tensors: Mapping[str, Tensor], weights: MotionWeights, amount: float, name: str = KIND
) -> dict[str, Tensor]:
    """A network's tensors with the motion at an amount: 0 leaves them, 1 is as trained.

    tensors: a motion module's or a UNet's, or both, by file names; those that are not among the
    weights are passed on as they are. In between both forms are the straight line from the
    network's own to the trained one. Keeps each tensor's dtype; products are in fp32. Raises
    UserError where no layer, or one of another size, is found.
    """
    if amount == 0:
        return dict(tensors)
    fitting = {n: t for n, t in weights.tensors.items() if n in tensors}
    wrong = [n for n, t in fitting.items() if t.shape != tensors[n].shape]
    if wrong or not fitting:
        found = f"{len(wrong)} layers of another size, first {wrong[:1]}" if wrong else "none"
        raise UserError(
            name, found, f"layers of the network ({weights.info.base})",
            "Use the motion module and the checkpoint family that they were trained for.",
        )  # fmt: skip  # file, found, expected, next move
    moved = dict(tensors)
    for key, learned in fitting.items():
        moved[key] = at_amount(tensors[key], learned, amount, weights.info.form)
    return moved


def at_amount(weight: Tensor, learned: Tensor, amount: float, form: Form) -> Tensor:
    """One weight at an amount of what was learned, in the weight's dtype."""
    if amount == 0:
        return weight
    own = weight.to(wide(weight.dtype))
    new = learned.to(own)
    if form == "difference":
        return (own + amount * new).to(weight.dtype)
    return (new if amount == 1 else torch.lerp(own, new, amount)).to(weight.dtype)


def save_motion_weights(
    path: Path | str, weights: MotionWeights, dtype: torch.dtype = torch.float16
) -> None:
    """Write a file whole or not at all. Raises UserError for numbers that the dtype cannot hold."""
    named = {(TEMPORAL if is_temporal(n) else IMAGE) + n: t for n, t in weights.tensors.items()}
    stored = {name: tensor.to(dtype) for name, tensor in named.items()}
    refuse_non_finite(path, stored)
    write_tensors(path, stored, {f"{MARK}kind": KIND, **to_metadata(weights.info)})


@lets_go
def load_motion_weights(path: Path | str) -> MotionWeights:
    """Read a file; tensors keep its dtype. Raises UserError for anything else, or NaN."""
    path = Path(path)
    tensors, metadata = read_tensors(path)
    kind = kinds.kind_of(tensors)
    if kind is not kinds.MOTION_WEIGHTS:
        found = kind.name if kind else f"{len(tensors)} other tensors"
        advice = kind.next_move if kind else "Choose another file."
        raise UserError(path, found, EXPECTED, advice)
    refuse_non_finite(path, tensors)
    named = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(TEMPORAL).removeprefix(IMAGE)
        known = re.match(MODULE, name) if key.startswith(TEMPORAL) else _IMAGE_LAYER.match(name)
        if not known or key == name or not tensor.is_floating_point():
            raise UserError(path, f"the key {key!r}", "temporal layers, keys and values", AGAIN)
        named[name] = tensor.clone()  # the file may be replaced while they are in use
    return MotionWeights(_info(path, metadata), named)


def _info(path: Path, metadata: Mapping[str, str]) -> MotionWeightsInfo:
    stated = stated_fields(path, metadata, MotionWeightsInfo)
    if stated.get("form") not in ("difference", "whole"):
        raise UserError(path, f"form {stated.get('form')!r}", "difference or whole", AGAIN)
    return MotionWeightsInfo(**{"sites": UNKNOWN, **stated})
