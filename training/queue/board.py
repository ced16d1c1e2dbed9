"""All jobs of a root folder as pages see them: added, noticed, read as they go on, put in order."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Generator, Iterable
from pathlib import Path
from typing import Any, cast

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...common.names import fault
from ..jobs import coming
from ..jobs.exports import check_new
from ..jobs.job import Job, JobFolder
from ..jobs.phase import ENDED
from ..jobs.published import same_name
from ..jobs.ticket import Ticket, is_id
from . import awaiting
from .host import JobView
from .watched_job import WatchedJob

PUSH_S = 0.25  # at least, between two views of a job whose phase is the same
_WRITING = "The model's weights are being written to the disk."
_WATCHING = "Another ComfyUI runs the jobs of this folder; this one looks on."


class Board:
    """What there is to know of the jobs below ``root``.

    Not safe to share between threads, but for ``views`` and ``view``, which never wait. Nothing
    here takes long: what the system refuses is raised, or tried again at the next look.
    """

    def __init__(self, root: Path):
        self.root, self.jobs = Path(root), Path(root) / "jobs"
        self.watched: dict[str, WatchedJob] = {}  # by id
        self.steering = False  # whether this process is the one that starts jobs
        self._watching = _WATCHING  # why it does not, in a view's words
        self._order: list[str] = []
        self._order_stamp: tuple[int, int] | None = None
        self.deleted: set[str] = set()  # ids of folders that are yet to go
        self._shown: dict[str, JobView] = {}  # the newest view of each job; replaced, not changed
        self._pushed: dict[str, tuple[JobView, float]] = {}  # the last one of each job, and when
        self._removed: list[str] = []  # ids that nobody has heard of yet
        # Above what an earlier server gave out, so that pages that outlived it take the new views.
        self._seq = time.time_ns() // 1_000_000

    def find(self, id: str) -> WatchedJob:
        """Raises UserError for a job that is not there."""
        if id not in self.watched:
            raise _unknown(id)
        return self.watched[id]

    def looks_on(self, refusal: OSError | None) -> None:
        """Say why jobs are only shown, where they are: the lock is another's, or there is none."""
        self._watching = _WATCHING if refusal is None else _unlocked(self.root, refusal)

    def scan(self) -> None:
        """Notice job folders that came or went."""
        try:
            with os.scandir(self.jobs) as entries:
                ids = {it.name for it in entries if is_id(it.name) and it.is_dir()}
        except FileNotFoundError:
            ids = set[str]()
        except OSError:
            return  # for an instant: nothing is known to have gone
        marked = {id for id in ids if os.path.exists(JobFolder(self.jobs / id).deleted)}
        # Windows lists a folder that somebody looks at for a while after it was removed.
        self.deleted = marked | (self.deleted & ids)
        ids -= self.deleted
        for id in sorted(ids - set(self.watched)):
            self.watched[id] = WatchedJob(self.jobs / id)
        for id in set(self.watched) - ids:
            self.drop(id)
        self.read_order()

    def admit(self, new: Path, ticket: Ticket) -> None:
        """Take up a job whose folder is whole under another name, and put it behind the others.

        Raises UserError where it cannot be, and OSError where its folder cannot take its name.
        """
        self.check_new(ticket.id)
        for used in ticket.uses:  # a deletion may just have taken it along
            if not coming.is_coming(used):
                raise UserError(used, "nothing", "what this job needs", "Start it again.")
        awaiting.check_awaited(ticket, self.watched)
        path = self.jobs / ticket.id
        files.replace(new, path, patience_s=0)
        self.watched[ticket.id] = WatchedJob(path)
        with contextlib.suppress(OSError):  # whoever has no place is last
            self.put([ticket.id], first=False)

    def check_new(self, id: str) -> None:
        """Raises UserError for an id that is none, or that is a job's on some system's disk."""
        there = {same_name(Path(name)) for name in _names(self.jobs)}
        if not is_id(id) or fault(id) or same_name(Path(id)) in there:
            raise UserError("id", repr(id)[:130], "a new plain name", "Start it again.")

    def bury(self, id: str) -> None:
        """Show a job to nobody from now on: its folder is marked, and goes when it can."""
        self.deleted.add(id)
        self.drop(id)

    def exhume(self, id: str) -> None:
        """Take that back."""
        self.deleted.discard(id)

    def drop(self, id: str) -> None:
        """Forget a job whose folder is gone."""
        self.watched.pop(id, None)
        self._pushed.pop(id, None)
        if id in self._shown:
            self._shown = {other: view for other, view in self._shown.items() if other != id}
            self._removed.append(id)

    def look(self, watched: WatchedJob) -> None:
        """Read what is new in a job's folder; an adapter that is new is to be published."""
        before = watched.history.exports, watched.state.phase
        watched.look()
        news = before != (watched.history.exports, watched.state.phase)
        if not self.steering:
            watched.publishing.read()
        elif not watched.deleting and (news or not watched.publishing.begun):
            watched.wish_published()
        if self.steering and watched.wants_worker and (why := _unwritten(watched)):
            watched.fail(why)

    def promised(self, but: str) -> set[str]:
        """Places of all jobs' adapters but one's, as ``same_name`` gives them."""
        records = [it.publishing.published for id, it in self.watched.items() if id != but]
        places = [place for it in records for place in (it.path, *it.others.values()) if place]
        return {same_name(Path(place)) for place in places}

    # Order

    def queue(self) -> list[WatchedJob]:
        """Jobs that wait for a worker, next one first; none before the one that it waits for."""
        place = {id: i for i, id in enumerate(self._order)}
        waiting = [watched for watched in self.watched.values() if watched.wants_worker]
        last = len(place)
        waiting.sort(key=lambda it: (place.get(it.id, last), it.ticket.created, it.id))
        return awaiting.behind_sources(waiting, self.watched)

    def ready(self) -> list[WatchedJob]:
        """Those of them that a worker can begin with."""
        ready = (it for it in self.queue() if not awaiting.missing(it))
        return [it for it in ready if not _is_early(it)]

    def read_order(self) -> None:
        """Take over an order that another process wrote; without any, the oldest job is next."""
        path = self.root / "queue.json"
        try:
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp == self._order_stamp:
                return
            order = json.loads(files.read_text(path, patience_s=0))
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
        atomic_write_text(self.root / "queue.json", json.dumps(self._order), patience_s=0.0)

    # Views

    def views(self) -> list[JobView]:
        """Every job, newest first."""
        return sorted(self._shown.values(), key=lambda view: (-view["created"], view["id"]))

    def view(self, id: str) -> JobView:
        """Raises UserError for a job that is not there."""
        try:
            return self._shown[id]
        except KeyError:
            raise _unknown(id) from None

    def refresh(self, ids: Collection[str] | None = None) -> None:
        """Bring the views of these jobs, or of all, up to date; a changed one gets a new "seq"."""
        positions = {watched.id: i for i, watched in enumerate(self.queue(), 1)}
        for id, watched in self.watched.items():
            if ids is not None and id not in ids:
                continue
            before = self._shown.get(id)
            seq = before["seq"] if before else 0
            waits = awaiting.waits_for(watched, self.watched)
            view = watched.view(self.steering, positions.get(id), waits, seq)
            if not self.steering and view["phase"] not in ENDED and not view["message"]:
                view["message"] = self._watching
            elif id in positions and not waits and not view["message"] and _is_early(watched):
                view["message"] = _WRITING
            if view != before:
                self._seq += 1
                view["seq"] = self._seq
                self._shown = {**self._shown, id: view}

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


def _is_early(watched: WatchedJob) -> bool:
    """Whether a file that a job needs is still being written."""
    return any(map(coming.is_being_written, watched.ticket.uses))


def _unwritten(watched: WatchedJob) -> str:
    """Why a job cannot begin whose file's writer gave up, or died; empty where none did."""
    return next((why for path in watched.ticket.uses if (why := coming.failure(path))), "")


def _unknown(id: str) -> UserError:
    return UserError("id", repr(id)[:130], "a job that is there", "Look at the list.")


def no_room(path: Path, error: OSError) -> UserError:
    """What to say of a folder that the system refuses to write to."""
    return UserError(
        path, f"a folder that takes no file ({error.strerror})", "one that does",
        "Free some space, or let ComfyUI write there.",
    )  # fmt: skip  # file, found, expected, next move


def _unlocked(root: Path, error: OSError) -> str:
    return (
        f"Jobs are only shown here: their folder takes no lock ({error.strerror}). "
        f"Let ComfyUI write to {root}, or keep it on a disk that has locks."
    )


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def new_folder(jobs: Path, job: Job, ticket: Ticket) -> Generator[Path, None, None]:
    """A whole job folder under another name, for ``admit``: others may be looking for new ones.

    It goes again where that fails. Raises OSError and UserError where it cannot be made.
    """
    new = files.temporary_beside(jobs / ticket.id)
    try:
        job = awaiting.with_places(job, ticket, jobs / ticket.id)
        JobFolder.create(new, check_new(job))
        ticket.write(new)
        yield new
    except BaseException:
        files.discard(new)
        raise
