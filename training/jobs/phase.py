"""Phases of a job: what its worker writes, what people are shown, and which belong together."""

from __future__ import annotations

from typing import Final, Literal, get_args

# What state.json holds. A dead worker's last word stands in it until somebody goes on.
Phase = Literal[
    "waiting", "loading", "running", "yielding", "paused", "stopped", "finished", "failed"
]
# What pages, scripts and the command line show.
ShownPhase = Literal[
    "queued", "loading", "running", "yielding", "paused", "interrupted", "stopped", "finished",
    "failed",
]  # fmt: skip  # as one reads a life: from the queue to its end
SHOWN: Final[tuple[ShownPhase, ...]] = get_args(ShownPhase)

# Groups. web/js/phases.js has those that pages need; tests/training/jobs/test_phase.py compares.
LIVING: Final = ("loading", "running", "yielding", "paused")  # that only a worker is in
ENDED: Final = ("finished", "stopped", "failed")  # until somebody resumes it


def shown_phase(
    phase: Phase, *, worked_on: bool, held: bool, pause: bool, taken_up: bool
) -> ShownPhase:
    """The phase that people see of a job whose files can be read.

    phase: in its state.json; worked_on: whether a process is at it, or about to be; held: whether
    that process has the job's lock yet; pause: whether the artist wants one; taken_up: whether
    somebody will start a worker for it, so that a worker's death is no interruption.
    """
    if phase in ENDED:
        return phase
    if worked_on:
        return phase if phase in LIVING and held else "loading"
    if pause:
        return "paused"
    return "interrupted" if phase in LIVING and not taken_up else "queued"
