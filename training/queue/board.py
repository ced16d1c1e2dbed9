"""All jobs of a root folder as pages see them: made, found, read as they go on, put in order."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ...common import system
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ..jobs.job import Job, JobFolder
from ..jobs.phase import ENDED
from ..jobs.ticket import Ticket, is_id
from .watched_job import WatchedJob

PUSH_S = 0.25  # at least, between two views of a job whose phase is the same
NEW = ".new-"  # how a job folder is called until it is whole
_ABANDONED_S = 3600.0
_WATCHING = "Another ComfyUI runs the jobs of this folder; this one looks on."
JobView = dict[str, Any]


class Board:
    """What there is to know of the jobs below ``root``. Not safe to share between threads."""

    def __init__(self, root: Path):
        self.root, self.jobs = Path(root), Path(root) / "jobs"
        self.entries: dict[str, WatchedJob] = {}
        self.steering = False  # whether this process is the one that starts jobs
        self._order: list[str] = []
        self._order_stamp: tuple[int, int] | None = None
        self._shown: dict[str, JobView] = {}  # the newest view of each job
        self._told: dict[str, tuple[JobView, float]] = {}  # the last one pushed, and when
        self._gone: list[str] = []
        # Above what an earlier server gave out, so that pages that outlived it take the new views.
        self._seq = time.time_ns() // 1_000_000

    def entry(self, id: str) -> WatchedJob:
        """Raises UserError for a job that is not there."""
        if id not in self.entries:
            raise UserError("id", repr(id)[:130], "a job that is there", "Look at the list.")
        return self.entries[id]

    def scan(self) -> None:
        """Notice job folders that came or went; clear away what a crash left between."""
        try:
            names = {path.name for path in self.jobs.iterdir() if path.is_dir()}
        except OSError:
            names = set()
        found = {name for name in names if is_id(name)}
        for name in sorted(found - set(self.entries)):
            self.entries[name] = WatchedJob(self.jobs / name)
        for name in set(self.entries) - found:
            self.drop(name)
        for name in names - found:
            path = self.jobs / name
            if name.startswith(system.REMOVED) or (name.startswith(NEW) and _abandoned(path)):
                shutil.rmtree(path, ignore_errors=True)
        self.read_order()

    def add(self, job: Job, ticket: Ticket) -> None:
        """Make a job's folder and put it behind the others. Raises UserError where it cannot be."""
        path = self.jobs / ticket.id
        if not is_id(ticket.id) or path.exists():
            raise UserError("id", repr(ticket.id)[:130], "a new plain name", "Start it again.")
        for used in ticket.uses:  # a deletion may just have taken it along
            if not Path(used).exists():
                raise UserError(used, "nothing", "what this job needs", "Start it again.")
        _make_folder(path, job, ticket)
        self.entries[ticket.id] = WatchedJob(path)
        self.put([ticket.id], first=False)

    def drop(self, id: str) -> None:
        """Forget a job whose folder is gone."""
        self.entries.pop(id, None)
        self._told.pop(id, None)
        if self._shown.pop(id, None) is not None:
            self._gone.append(id)

    def look(self, entry: WatchedJob) -> None:
        """Read what is new in a job's folder, and publish an adapter that is new."""
        before = entry.history.exports, entry.state.phase
        entry.look()
        news = before != (entry.history.exports, entry.state.phase)
        if not self.steering:
            entry.read_published()
        elif not entry.deleting and (news or not entry.published_yet):
            entry.try_publish()

    # Order

    def queue(self) -> list[WatchedJob]:
        """Jobs that wait for a worker, next one first."""
        place = {id: i for i, id in enumerate(self._order)}
        waiting = [entry for entry in self.entries.values() if entry.wants_worker]
        last = len(place)
        return sorted(waiting, key=lambda e: (place.get(e.id, last), e.ticket.created, e.id))

    def read_order(self) -> None:
        """Take over an order that another process wrote; without any, the oldest job is next."""
        path = self.root / "queue.json"
        try:
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp == self._order_stamp:
                return
            order = json.loads(system.patient(lambda: path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            return
        self._order_stamp = stamp
        if isinstance(order, list):
            self._order = [id for id in order if isinstance(id, str)]

    def put(self, ids: Iterable[str], *, first: bool) -> None:
        """Put jobs, in this order, before or behind all others. Raises OSError on a full disk."""
        self.read_order()
        named = list(dict.fromkeys(ids))
        rest = [id for id in self._order if id in self.entries and id not in named]
        rest += [e.id for e in self.queue() if e.id not in {*rest, *named}]
        self._order = [*named, *rest] if first else [*rest, *named]
        atomic_write_text(self.root / "queue.json", json.dumps(self._order))

    # Views

    def views(self) -> list[JobView]:
        """Every job, newest first."""
        return sorted(self._shown.values(), key=lambda v: (-v["created"], v["id"]))

    def view(self, id: str) -> JobView:
        self.entry(id)
        return self._shown[id]

    def refresh(self, ids: Collection[str] | None = None) -> None:
        """Bring the views of these jobs, or of all, up to date; a changed one gets a new "seq"."""
        places = {entry.id: i + 1 for i, entry in enumerate(self.queue())}
        for id, entry in self.entries.items():
            if ids is not None and id not in ids:
                continue
            view = entry.view(self.steering, places.get(id))
            if not self.steering and view["phase"] not in ENDED and not view["message"]:
                view["message"] = _WATCHING
            old = self._shown.get(id, {})
            if {**view, "seq": old.get("seq")} != old:
                self._seq += 1
                self._shown[id] = {**view, "seq": self._seq}

    def news(self, now: float) -> tuple[list[JobView], list[str]]:
        """(views to push now, ids of jobs that are gone): each change once, a new phase at once."""
        news = []
        for id, view in self._shown.items():
            told, at = self._told.get(id, ({}, -PUSH_S))
            same_phase = told.get("phase") == view["phase"]
            if told.get("seq") != view["seq"] and (not same_phase or now - at >= PUSH_S):
                self._told[id] = (view, now)
                news.append(view)
        gone, self._gone = self._gone, []
        return news, gone


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False


def _make_folder(path: Path, job: Job, ticket: Ticket) -> None:
    """A whole job folder or none: another process may be looking for new ones."""
    new = path.with_name(NEW + path.name)
    try:
        JobFolder.create(new, job)
        ticket.write(new)
        system.patient(lambda: new.rename(path))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
