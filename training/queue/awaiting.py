"""Jobs that take another job's adapter: which job that is, and the taking, once it has one.

A job keeps a copy of its own, so that the other may be deleted or go on. Only a job that waits for
nothing itself is waited for: no two can wait for each other.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from ...common import files
from ...common.atomic import atomic_path
from ...common.errors import UserError
from ..jobs.exports import adapter_of
from ..jobs.job import Job
from ..jobs.phase import ENDED
from ..jobs.ticket import Awaited, Kind, Ticket
from .host import AwaitedState, WaitsFor
from .watched_job import WatchedJob

_PAUSE_S = 5.0  # after an attempt that failed, for want of room say
Jobs = Mapping[str, WatchedJob]  # by id


def place(folder: Path, kind: Kind) -> Path:
    """Where a job keeps its copy of an adapter."""
    return folder / "taken" / f"{kind}.safetensors"


def with_places(job: Job, ticket: Ticket, folder: Path) -> Job:
    """The job with the files that it will have taken by the time it begins."""
    taken = {it.kind: str(place(folder, it.kind)) for it in ticket.awaits}
    return dataclasses.replace(job, adapters={**job.adapters, **taken})


def check_awaited(ticket: Ticket, jobs: Jobs) -> None:
    """Raises UserError where a new job would wait for one that is not there, or waits itself."""
    for awaited in ticket.awaits:
        other = jobs.get(awaited.id)
        if other is None or other.ticket.awaits:
            found = "a deleted job" if other is None else "a job that waits for another one"
            raise UserError(
                awaited.name, found, "a job whose adapter this one can take", "Press Train again."
            )


def missing(watched: WatchedJob) -> list[Awaited]:
    """The jobs whose adapters this one has yet to take."""
    folder = watched.folder.path
    return [it for it in watched.ticket.awaits if not os.path.exists(place(folder, it.kind))]


def source(watched: WatchedJob, awaited: Awaited, jobs: Jobs) -> WatchedJob | None:
    """The job that an adapter comes from: the named one, while it can have one to give.

    Else the newest of the same node that was begun since: trained again. None where neither is.
    """
    named = jobs.get(awaited.id)
    if named is not None and not _is_lost(named):
        return named
    again = [
        it
        for it in jobs.values()
        if (it.ticket.kind, it.ticket.uid) == (awaited.kind, awaited.uid)
        and it.ticket.created > watched.ticket.created
        and not it.ticket.awaits
    ]
    newest = sorted(again, key=lambda it: (not _is_lost(it), it.ticket.created))
    return newest[-1] if newest else named


def waits_for(watched: WatchedJob, jobs: Jobs) -> WaitsFor | None:
    """What pages show of the first job that this one waits for."""
    for awaited in missing(watched):
        other = source(watched, awaited, jobs)
        if other is None:
            return {"id": awaited.id, "name": awaited.name, "state": "deleted"}
        return {"id": other.id, "name": other.ticket.name, "state": _state(other)}
    return None


def behind_sources(queue: Iterable[WatchedJob], jobs: Jobs) -> list[WatchedJob]:
    """A queue in its order, but with whoever waits for a later one right behind that."""
    left = {it.id: it for it in queue}
    ordered: list[WatchedJob] = []
    behind: dict[str, list[WatchedJob]] = {}
    for it in list(left.values()):
        others = (source(it, awaited, jobs) for awaited in missing(it))
        first = next((other.id for other in others if other is not None and other.id in left), "")
        if first:
            behind.setdefault(first, []).append(it)
            continue
        del left[it.id]
        ordered += [it, *behind.pop(it.id, [])]
    return ordered + [it for waiting in behind.values() for it in waiting]  # of damaged tickets


class Taking:
    """Copies adapters to the jobs that wait for them."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}  # of the next attempt after a failure, by id

    def due(self, jobs: Jobs) -> list[tuple[WatchedJob, Path, Path]]:
        """(who takes, from where, to where) of what can be taken now."""
        now = time.monotonic()
        return [
            (it, _export(other), place(it.folder.path, awaited.kind))
            for it in jobs.values()
            if now >= self._due.get(it.id, now) and not (it.deleting or it.failure)
            for awaited in missing(it)
            if (other := source(it, awaited, jobs)) is not None and _has_adapter(other)
        ]

    def take(self, takings: Iterable[tuple[WatchedJob, Path, Path]]) -> None:
        """Copy them; what prevents that is said by the job, and it is tried again."""
        for watched, export, own in takings:
            if watched.write(partial(_copy, export, own)):
                self._due.pop(watched.id, None)
            else:
                self._due[watched.id] = time.monotonic() + _PAUSE_S


def _copy(export: Path, own: Path) -> None:
    files.make_folder(own.parent)
    with atomic_path(own, 0.0) as temporary:
        files.copy(export, temporary)


def _export(other: WatchedJob) -> Path:
    assert other.job is not None
    return other.folder.exports / adapter_of(other.job)


def _is_lost(other: WatchedJob) -> bool:
    """Whether nothing comes of a job unless somebody resumes it."""
    if other.failure or other.deleting or other.state.phase == "failed":
        return True
    ended = other.loaded and other.state.phase in ENDED
    return ended and not os.path.exists(_export(other))


def _has_adapter(other: WatchedJob) -> bool:
    """Whether a job has ended with one, and that is, as far as it can be, at its place."""
    ended = other.loaded and other.state.phase in ENDED
    return ended and not _is_lost(other) and not other.publishing.progress


def _state(other: WatchedJob) -> AwaitedState:
    phase = other.state.phase
    if _is_lost(other):
        return "failed" if other.failure or phase == "failed" else "ended"
    return "paused" if other.control.wanted == "pause" and phase not in ENDED else "coming"
