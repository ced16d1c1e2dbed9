"""All jobs of a root folder as pages see them: added, noticed, read as they go on, put in order."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, cast

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...common.names import fault
from ..jobs.exports import check_new
from ..jobs.job import Job, JobFolder
from ..jobs.phase import ENDED
from ..jobs.ticket import Ticket, is_id
from .host import JobView
from .watched_job import WatchedJob

PUSH_S = 0.25  # at least, between two views of a job whose phase is the same
_WATCHING = "Another ComfyUI runs the jobs of this folder; this one looks on."


class Board:
    """What there is to know of the jobs below ``root``. Not safe to share between threads."""

    def __init__(self, root: Path):
        self.root, self.jobs = Path(root), Path(root) / "jobs"
        self.watched: dict[str, WatchedJob] = {}  # by id
        self.steering = False  # whether this process is the one that starts jobs
        self._order: list[str] = []
        self._order_stamp: tuple[int, int] | None = None
        self._shown: dict[str, JobView] = {}  # the newest view of each job
        self._pushed: dict[str, tuple[JobView, float]] = {}  # the last one of each job, and when
        self._removed: list[str] = []  # ids that nobody has heard of yet
        # Above what an earlier server gave out, so that pages that outlived it take the new views.
        self._seq = time.time_ns() // 1_000_000

    def find(self, id: str) -> WatchedJob:
        """Raises UserError for a job that is not there."""
        if id not in self.watched:
            raise UserError("id", repr(id)[:130], "a job that is there", "Look at the list.")
        return self.watched[id]

    def scan(self) -> None:
        """Notice job folders that came or went; clear away what a crash left between."""
        try:
            names = {path.name for path in self.jobs.iterdir() if path.is_dir()}
        except OSError:
            names = set[str]()
        ids = {name for name in names if is_id(name)}
        for id in sorted(ids - set(self.watched)):
            self.watched[id] = WatchedJob(self.jobs / id)
        for id in set(self.watched) - ids:
            self.drop(id)
        for name in names - ids:
            path = self.jobs / name
            if files.is_leftover(path) or (name.startswith(files.NEW) and _abandoned(path)):
                files.discard(path)
        self.read_order()

    def add(self, job: Job, ticket: Ticket) -> None:
        """Make a job's folder and put it behind the others. Raises UserError where it cannot be."""
        path = self.jobs / ticket.id
        if not is_id(ticket.id) or fault(ticket.id) or path.exists():
            raise UserError("id", repr(ticket.id)[:130], "a new plain name", "Start it again.")
        check_new(job)
        for used in ticket.uses:  # a deletion may just have taken it along
            if not Path(used).exists():
                raise UserError(used, "nothing", "what this job needs", "Start it again.")
        _make_folder(path, job, ticket)
        self.watched[ticket.id] = WatchedJob(path)
        self.put([ticket.id], first=False)

    def drop(self, id: str) -> None:
        """Forget a job whose folder is gone."""
        self.watched.pop(id, None)
        self._pushed.pop(id, None)
        if self._shown.pop(id, None) is not None:
            self._removed.append(id)

    def look(self, watched: WatchedJob) -> None:
        """Read what is new in a job's folder, and publish an adapter that is new."""
        before = watched.history.exports, watched.state.phase
        watched.look()
        news = before != (watched.history.exports, watched.state.phase)
        if not self.steering:
            watched.read_published()
        elif not watched.deleting and (news or not watched.published_yet):
            watched.try_publish()

    # Order

    def queue(self) -> list[WatchedJob]:
        """Jobs that wait for a worker, next one first."""
        place = {id: i for i, id in enumerate(self._order)}
        waiting = [watched for watched in self.watched.values() if watched.wants_worker]
        last = len(place)
        return sorted(waiting, key=lambda it: (place.get(it.id, last), it.ticket.created, it.id))

    def read_order(self) -> None:
        """Take over an order that another process wrote; without any, the oldest job is next."""
        path = self.root / "queue.json"
        try:
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp == self._order_stamp:
                return
            order = json.loads(files.read_text(path))
        except (OSError, ValueError, RecursionError):
            return
        self._order_stamp = stamp
        if isinstance(order, list):
            self._order = [id for id in cast("list[Any]", order) if isinstance(id, str)]

    def put(self, ids: Iterable[str], *, first: bool) -> None:
        """Put jobs, in this order, before or behind all others. Raises OSError on a full disk."""
        self.read_order()
        named = list(dict.fromkeys(ids))
        rest = [id for id in self._order if id in self.watched and id not in named]
        rest += [it.id for it in self.queue() if it.id not in {*rest, *named}]
        self._order = [*named, *rest] if first else [*rest, *named]
        atomic_write_text(self.root / "queue.json", json.dumps(self._order))

    # Views

    def views(self) -> list[JobView]:
        """Every job, newest first."""
        return sorted(self._shown.values(), key=lambda view: (-view["created"], view["id"]))

    def view(self, id: str) -> JobView:
        self.find(id)
        return self._shown[id]

    def refresh(self, ids: Collection[str] | None = None) -> None:
        """Bring the views of these jobs, or of all, up to date; a changed one gets a new "seq"."""
        positions = {watched.id: i for i, watched in enumerate(self.queue(), 1)}
        for id, watched in self.watched.items():
            if ids is not None and id not in ids:
                continue
            before = self._shown.get(id)
            seq = before["seq"] if before else 0
            view = watched.view(self.steering, positions.get(id), seq)
            if not self.steering and view["phase"] not in ENDED and not view["message"]:
                view["message"] = _WATCHING
            if view != before:
                self._seq += 1
                view["seq"] = self._seq
                self._shown[id] = view

    def news(self, now: float) -> tuple[list[JobView], list[str]]:
        """(views to push now, ids of jobs that are gone): each change once, a new phase at once."""
        views: list[JobView] = []
        for id, view in self._shown.items():
            pushed, at = self._pushed.get(id, (None, 0.0))
            if pushed is not None:
                soon = pushed["phase"] == view["phase"] and now - at < PUSH_S
                if soon or pushed["seq"] == view["seq"]:
                    continue
            self._pushed[id] = (view, now)
            views.append(view)
        removed, self._removed = self._removed, []
        return views, removed


def _abandoned(path: Path) -> bool:
    """Whether a job folder that is not whole is nobody's; version 0.1.0 had its id in the name."""
    try:
        return time.time() - path.stat().st_mtime > files.ABANDONED_S
    except OSError:
        return False


def _make_folder(path: Path, job: Job, ticket: Ticket) -> None:
    """A whole job folder or none: another process may be looking for new ones."""
    new = files.temporary_beside(path)
    try:
        JobFolder.create(new, job)
        ticket.write(new)
        files.replace(new, path)
    except BaseException:
        files.discard(new)
        raise
