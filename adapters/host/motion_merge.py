"""Merging the motion modules of two wires: nothing is read before a MODEL takes the result."""

from __future__ import annotations

from ..files.motion_merge import refuse_unlike
from ..files.motion_parts import hash_of, merged_parts
from .motion_module import LoadedMotionModule


def merge_motion_modules(
    first: LoadedMotionModule, second: LoadedMotionModule, ratio: float
) -> LoadedMotionModule:
    """The mean of two motion modules' weights, after ComfyUI's ModelMergeSimple.

    ratio: in 0..1; 1 is the first alone and 0 the second, and then that one itself is given, as it
    is where both are the same. Merging a merged one adds to its parts, so that however many are
    merged are rounded once. Raises UserError for modules of two kinds.
    """
    refuse_unlike(first.info, first.name, second.info, second.name)
    parts = merged_parts(first.parts, second.parts, ratio)
    for module in (first, second):
        if hash_of(parts) == module.hash:
            return module
    return LoadedMotionModule(parts, first.info)
