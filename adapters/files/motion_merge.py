"""Merging motion modules of one kind: every weight is the mean of theirs, each by its share.

A mean of weights is a motion module where one was made from the other, or both from a third
(arXiv:2203.05482 found it for fine-tunes of one network).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common import interrupt
from ...common.errors import UserError, lets_go
from ...worlds.known import title_of
from ..positions import sinusoid
from .motion_module import (
    LAYERS,
    WORLD_OF,
    MotionModule,
    MotionModuleInfo,
    read_motion_module,
    recognize,
)
from .motion_names import own_positions
from .motion_parts import Parts, hash_of, name_of
from .templates import Shapes, module_shapes


def refuse_unlike(
    first: MotionModuleInfo, first_name: str, second: MotionModuleInfo, second_name: str
) -> None:
    """Raise UserError unless two motion modules are of one kind, which a merged file keeps.

    The kind is more than the layers: v1 and v3 have the same, and normalise differently.
    """
    if _kind(first) != _kind(second):
        raise UserError(
            second_name,
            _in_words(second),
            f"what {first_name} is ({_in_words(first)}), because weights are merged one by one",
            "Choose two motion modules of one version and length, such as one and its fine-tune.",
        )
    seen = {name: torch.empty(shape, device="meta") for name, shape in _shapes(first).items()}
    if recognize("merged", seen) != _kind(first):
        raise UserError(
            first_name,
            f"{_in_words(first)}, which its config.yaml says and its weights do not show",
            "a motion module that is known by its weights",
            "Merge released motion modules; a trainer's checkpoint like this works alone.",
        )


@lets_go
def read_merged(parts: Parts) -> MotionModule:
    """The motion module of one part, or the mean of several, read one after the other.

    A merged tensor is summed in fp32 and rounded once, to the finest precision that a part has it
    in, and to no less than 16 bits. Positions that are plain sinusoids are computed anew. Raises
    UserError as reading a part does, and for one that is another file by now.
    """
    if len(parts) == 1:
        return read_motion_module(parts[0].path)
    sums: dict[str, Tensor] = {}
    finest: dict[str, torch.dtype] = {}
    info = None
    for part in sorted(parts, key=lambda part: part.hash):  # the same sum in any order of merging
        module = read_motion_module(part.path)
        if module.hash != part.hash:
            raise UserError(
                part.path, "another file than when it was loaded", "the same one",
                "Put it back; or give the new file another name, and load that.",
            )  # fmt: skip  # file, found, expected, next move
        for name, tensor in _whole(module).items():
            interrupt.check()
            finest[name] = _finer(finest.get(name), tensor.dtype)
            term = tensor.to(torch.promote_types(finest[name], torch.float32)) * part.weight
            sums[name] = term if name not in sums else sums[name] + term
        info = _kind(module.info)
    assert info is not None
    tensors = {name: sums.pop(name).to(finest[name]) for name in list(sums)}  # never all in both
    info = replace(info, own_positions=own_positions(tensors))
    return MotionModule(info, tensors, hash_of(parts), name_of(parts))


def _kind(info: MotionModuleInfo) -> MotionModuleInfo:
    """What two modules must have in common: all but whose positions they use."""
    return replace(info, own_positions=False)


def _in_words(info: MotionModuleInfo) -> str:
    world = WORLD_OF.get(info.channels)
    name = f"the motion module of {title_of(world)}" if world else f"a motion module {info.version}"
    return f"{name} with {info.max_frames} frames"


def _shapes(info: MotionModuleInfo) -> Shapes:
    # AnimateLCM is told by having no tables.
    frames = None if info.version == "AnimateLCM" else info.max_frames
    return module_shapes(info.channels, LAYERS[info.channels], info.has_mid_block, frames)


def _whole(module: MotionModule) -> dict[str, Tensor]:
    """A module's tensors with the tables that its kind has, also where the file leaves them out."""
    own = module.info.own_positions
    return {
        name: sinusoid(*shape[1:])[None]
        if name.endswith(".pe") and not own
        else module.tensors[name]
        for name, shape in _shapes(module.info).items()
    }


def _finer(known: torch.dtype | None, dtype: torch.dtype) -> torch.dtype:
    """The precision that holds both; 8 bits count as fp16, which holds them."""
    held = torch.float16 if dtype.itemsize == 1 else dtype
    return held if known is None else torch.promote_types(known, held)
