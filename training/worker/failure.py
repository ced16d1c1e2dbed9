"""What ended a job before its time, in words that an artist can act on."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import replace

from ...common import files
from ...common.errors import UserError
from ...common.long_paths import PathTooLong
from ..checks.device import is_out_of_memory
from ..jobs.job import JobFolder, first_process
from .packages import untested

FINISHED, CRASHED, USER_ERROR, STOPPED = 0, 1, 2, 0  # exit codes


def recorded(folder: JobFolder, run: Callable[[], int], doing: Callable[[], str]) -> int:
    """What ``run`` returns; what it raises is written into the folder, and told by an exit code.

    doing: says what ``run`` is at, as for ``lack_of_room``.
    """
    try:
        return run()
    except UserError as error:
        record_failure(folder, str(error))
        return USER_ERROR
    except Exception as error:
        mendable = lack_of_room(folder, error, doing())
        if mendable is not None:
            record_failure(folder, str(mendable))
            return USER_ERROR
        files.append_text(folder.log, traceback.format_exc())
        record_failure(folder, crash(folder, error))
        return CRASHED


def lack_of_room(folder: JobFolder, error: Exception, doing: str) -> UserError | None:
    """A full disk, a path too long, memory that no tier could save, in words; None for the rest.

    doing: what the worker was at, as in "loading the network".
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            folder.path,
            f"a full disk while {doing}",
            "room for what the job writes",
            "Free some space and resume: the job goes on from what it saved last.",
        )
    if isinstance(error, PathTooLong):
        return UserError(
            folder.path, str(error.strerror), "a folder with a shorter path", "Then resume."
        )
    if is_out_of_memory(error):
        return UserError(
            "memory",
            f"too little while {doing}",
            "room for it",
            "Close other programs and resume; or begin a job that needs less: another precision,"
            " fewer frames, a LoRA.",
        )
    return None


def crash(folder: JobFolder, error: Exception) -> str:
    """A line on an error that nobody foresaw; its traceback is in the job's log."""
    text = f"{type(error).__name__}: {error}"
    return f"{text[:300]} (see {folder.log.name}; resume when mended){untested()}"


def record_failure(folder: JobFolder, message: str) -> None:
    """Write what happened where pages read it: the job's state and events, once for a team."""
    if not first_process():
        files.append_text(folder.log, f"A process beside the first: {message}\n")
        return
    state = folder.read_state()
    folder.write_state(replace(state, phase="failed", message=message))
    folder.report("failed", stage=state.stage, step=state.step, message=message)
