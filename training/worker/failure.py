"""What ended a job before its time, in words that an artist can act on."""

from __future__ import annotations

import errno

import torch

from ...common.errors import UserError
from ..jobs.job import JobFolder, State, first_process


def lack_of_room(folder: JobFolder, error: Exception) -> UserError | None:
    """A full disk, or memory that no tier could save, in words; None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            folder.path,
            "a full disk",
            "room for checkpoints",
            "Free some space and resume: the job goes on from its last checkpoint.",
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return UserError(
            "memory",
            "too little to load the network",
            "room for the checkpoint and the motion module",
            "Close other programs, or train in float16 on the card or on the CPU, and resume.",
        )
    return None


def record_failure(folder: JobFolder, message: str) -> None:
    """Write what happened where pages read it: the job's state and events, once for a team."""
    if not first_process():
        with folder.log.open("a", encoding="utf-8") as log:
            log.write(f"A process beside the first: {message}\n")
        return
    state = folder.read_state()
    folder.write_state(State("failed", state.stage, state.step, state.steps, message))
    folder.report("failed", stage=state.stage, step=state.step, message=message)
