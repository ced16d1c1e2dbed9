"""What the queue gives to, and asks of, the program that it runs in.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict

from ..jobs.phase import ShownPhase
from ..jobs.ticket import Kind, Policy

Points = list[list[float]]  # [[step, value], ...]


AwaitedState = Literal["coming", "paused", "failed", "ended", "deleted"]


class WaitsFor(TypedDict):
    """The job whose adapter another one waits for."""

    id: str
    name: str
    # "coming": by itself. "ended": it has, without an adapter. All but "coming" wait for somebody.
    state: AwaitedState


class JobView(TypedDict):
    """Everything that a page shows of a job, as plain JSON. docs/api.md says what each field is."""

    id: str
    name: str
    kind: Kind
    uid: str
    created: float  # seconds since 1970
    policy: Policy
    phase: ShownPhase
    stage: int
    step: int  # of this stage; while drawing, how many items there are
    steps: int  # of this stage, in all
    drawing: bool  # whether its sets are being drawn, before the training
    eta_s: float | None
    seconds_per_step: float | None
    memory_bytes: float | None
    tier: str | None
    message: str
    loss: Points
    average: Points
    held_out: Points
    adapter: str | None  # name of the published file, once the job has ended
    position: int | None  # in the queue, from 1
    waits_for: WaitsFor | None  # until its adapter is taken
    samples: list[str]
    scales: list[float]  # of the newest sample, from top to bottom
    motion: Points  # [step over all stages, px per frame at each scale], a sample
    lost_motion: tuple[float, float] | None  # px per frame with a Spatial Adapter and without
    seq: int  # rises with every change of any job


class Removed(TypedDict):
    """A job that is gone."""

    id: str


def _never_busy() -> bool:
    return False


def _unheard(_news: JobView | Removed) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Host:
    """The program around a supervisor; without any, jobs run and nobody looks.

    All three are called from the supervisor's thread.
    """

    busy: Callable[[], bool] = _never_busy  # whether it wants the device for itself
    on_view: Callable[[JobView], None] = _unheard  # a job's view is new
    on_removed: Callable[[Removed], None] = _unheard
