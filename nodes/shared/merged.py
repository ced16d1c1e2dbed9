"""A motion module as one file for another process: its own, or one that is written for a job."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ...adapters.files.motion_merge import read_merged
from ...adapters.files.motion_parts import Parts, hash_of, to_metadata
from ...common import files
from ...training.jobs import coming
from . import baking, places, writer


class MotionFile(NamedTuple):
    """path: the file; made: that again where it was written for jobs, and goes with the last of
    them; notes: what to say of it.
    """

    path: Path
    made: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def motion_file(parts: Parts) -> MotionFile:
    """The file that another process reads as the very motion module that samples here.

    A merged one is written to ``weights/`` under what it is known by, unless it is there; it may be
    ``coming`` for some seconds yet. Raises UserError where the disk is full, and for a part that is
    missing or another file by now.
    """
    if len(parts) == 1:
        return MotionFile(parts[0].path.resolve())
    path = places.weights() / f"{hash_of(parts)[:32]}.safetensors"
    size = path.stat().st_size if path.is_file() else 0
    if not coming.is_coming(path):
        module = read_merged(parts)
        files.make_folder(path.parent)
        size = sum(tensor.nbytes for tensor in module.tensors.values())
        baking.need_room(path.parent, size, "the merged motion module")
        writer.write(path, module.tensors, to_metadata(parts), lambda _tensors: path.stem)
    note = "The job keeps the merged motion module on disk, too"
    note += f": {baking.in_words(size)}." if size else "."  # which is not known while it is written
    return MotionFile(path, (path,), (note,))
