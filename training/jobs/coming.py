"""Files that a job needs and that somebody is still writing, known by a lock file beside them.

A press of Train does not wait for gigabytes of weights. Whoever writes them holds the lock, so a
writer that died is known, in whichever process the queue is. Standard library alone.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ...common import files, system

CUT_OFF = (
    "ComfyUI ended before the model's weights for this job were written. Press Train again; the"
    " job can then be resumed or deleted."
)


def note_of(path: Path | str) -> Path:
    """The lock file that a writer of ``path`` holds."""
    return Path(path).with_suffix(".writing")


def reason_of(path: Path | str) -> Path:
    """Where a writer of ``path`` says, for people, why there will be none."""
    return Path(path).with_suffix(".failed")


def is_being_written(path: Path | str) -> bool:
    """Whether a file is yet to be and a living process is at it."""
    try:
        return not os.path.exists(path) and system.is_held(note_of(path))
    except OSError:  # it cannot be told at this instant
        return True


def is_coming(path: Path | str) -> bool:
    """Whether a file is there, or will be by itself."""
    return is_being_written(path) or os.path.exists(path)


def failure(path: Path | str) -> str:
    """Why a file that was being written will never be there, in words; empty while it may."""
    note = note_of(path)
    if os.path.exists(path) or not os.path.exists(note) or is_being_written(path):
        return ""
    try:
        reason = files.read_text(reason_of(path), patience_s=0)
    except FileNotFoundError:
        reason = CUT_OFF
    except OSError:
        return ""  # asked again at the next look
    return "" if os.path.exists(path) else reason  # it may have got its name meanwhile


def forget(path: Path | str) -> None:
    """Remove what a writer left beside a file; what cannot be removed stays."""
    for left in (note_of(path), reason_of(path)):
        with contextlib.suppress(OSError):
            files.remove(left, patience_s=0)
