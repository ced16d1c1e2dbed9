"""Jobs that are deleted: seen by nobody, and removed bit by bit as soon as the system lets them go.

Windows neither renames nor removes a folder with a file that somebody has open, such as the log of
a process that is ending. So a job is first marked, which lasts, and then removed: by whoever
deletes it if that is possible at once, else again and again by whoever steers the jobs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable
from pathlib import Path
from threading import RLock

from ...common import files
from ...common.errors import UserError
from ..jobs.job import Job, JobFolder
from ..jobs.published import HOMES, set_aside_unshared
from ..jobs.ticket import PUBLISHED_FILE, TICKET_FILE, Ticket, read_ticket
from .board import Board
from .ending import end_worker, is_held
from .publishing import Publishing
from .watched_job import WatchedJob

STOP_PATIENCE_S = 10.0  # for the worker of a job that is being deleted
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0  # between attempts; doubled after each
_ABANDONED_S = 600.0  # how long an unfinished folder has been there, by this process's own clock


class Trash:
    """What is to be removed below a board's root. guard: the board's."""

    def __init__(self, board: Board, guard: RLock):
        self._board, self._guard = board, guard
        self._next: dict[str, tuple[float, float]] = {}  # by id: when, and the pause after that
        self._sweep = (0.0, _FIRST_PAUSE_S)
        self._unfinished: dict[str, float] = {}  # since when a folder is being made

    def delete(self, watched: WatchedJob) -> None:
        """Take a job out of every view, end its worker, and remove what can be.

        Raises UserError when its worker cannot be ended, or when nothing can be written to its
        folder and that cannot be removed either; then the job stays.
        """
        folder, id = JobFolder(watched.folder.path), watched.id
        marked = _mark(folder)
        with self._guard:
            watched.deleting = True
            if marked:
                self._next[id] = (math.inf, _FIRST_PAUSE_S)  # not before this attempt
                self._board.bury(id)
        try:
            while watched.starting:
                time.sleep(0.05)
            if not end_worker(folder, watched.child, STOP_PATIENCE_S):
                self._keep(id, folder)
            # Whoever steers makes the copy that is yet to make, beside; if a mark says so.
            gone = self._clear(id, watched.ticket, watched.publishing, copying=not marked)
            if not gone and not marked:
                raise UserError(
                    folder.path, "a folder that cannot be removed", "one that nobody has open",
                    "Close what reads it, and delete the job again.",
                )  # fmt: skip  # file, found, expected, next move
        finally:
            with self._guard:
                watched.deleting = False
                self._next.pop(id, None)

    def _keep(self, id: str, folder: JobFolder) -> None:
        """Take a deletion back. Raises UserError always."""
        with contextlib.suppress(OSError):
            files.remove(folder.deleted)
        with self._guard:
            self._board.exhume(id)
        raise UserError(
            folder.path, "a worker that cannot be ended", "none",
            "End the process in the system's task manager, and delete the job again.",
        )  # fmt: skip  # file, found, expected, next move

    def turn(self, now: float) -> None:
        """Try again what is due."""
        due_ids: list[str] = []
        with self._guard:
            for id in self._board.deleted:
                due, pause_s = self._next.get(id, (now, _FIRST_PAUSE_S))
                if now >= due:
                    self._next[id] = (now + pause_s, min(2 * pause_s, _LONGEST_PAUSE_S))
                    due_ids.append(id)
        for id in due_ids:
            self._again(id)
        due, pause_s = self._sweep
        if now >= due:
            left = self._swept(now)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S) if left else _FIRST_PAUSE_S
            self._sweep = (now + pause_s, pause_s)

    def _again(self, id: str) -> None:
        """Go on with a deletion that this process, or an earlier one, could not finish."""
        path = self._board.jobs / id
        job: Job | None = None
        try:
            ticket = read_ticket(path)
            job = JobFolder(path).load()
        except (UserError, OSError):
            ticket = Ticket(id, id, "motion", "", 0.0)  # a damaged one says nothing
        if end_worker(JobFolder(path), None, STOP_PATIENCE_S):
            self._clear(id, ticket, Publishing(path, job, ticket), copying=True)

    def _clear(self, id: str, ticket: Ticket, publishing: Publishing, *, copying: bool) -> bool:
        """Remove what can be; returns whether that is all. What names the rest goes last.

        copying: as for ``withdraw``. What is yet to bring stays until it is brought.
        """
        path, board = self._board.jobs / id, self._board
        with self._guard:  # so that no job that needs the same is added meanwhile
            others = [other.ticket for other in board.watched.values() if other.id != id]
            aside, every = set_aside_unshared(board.root, ticket, others)
            taken = board.promised(but=id)
        for nameless in aside:
            files.discard(nameless)
        folder = JobFolder(path)
        kept = (TICKET_FILE, PUBLISHED_FILE, folder.deleted.name)
        try:
            publishing.withdraw(taken, copying=copying)
        except OSError:
            _empty(path, (*kept, folder.spec.name, folder.exports.name))  # it may make room
            return False
        try:
            every &= _empty(path, kept)
            if not every:
                return False
            nameless = files.set_aside(path)
        except FileNotFoundError:
            pass  # somebody else was faster
        except OSError:
            return False
        else:
            files.discard(nameless)
        with self._guard:
            board.drop(id)
        return True

    def _swept(self, now: float) -> bool:
        """Clear away what lost its name and what a crash left half made; whether some is left."""
        jobs, root = self._board.jobs, self._board.root
        made = [path for path in _entries(jobs) if path.name.startswith(files.NEW)]
        self._unfinished = {path.name: self._unfinished.get(path.name, now) for path in made}
        doomed = [path for path in made if now - self._unfinished[path.name] > _ABANDONED_S]
        doomed += [path for path in _entries(root) if files.is_leftover(path)]
        for home in (jobs, *(root / name for name in HOMES)):
            doomed += [path for path in _entries(home) if files.is_being_removed(path.name)]
        return not _removed(doomed)

    def busy(self) -> bool:
        """Whether the worker of a deleted job is still at the device."""
        return any(is_held(JobFolder(self._board.jobs / id)) for id in self._board.deleted)


def _mark(folder: JobFolder) -> bool:
    """Have a job be deleted, whatever happens from here on; False where nothing can be written."""
    try:
        files.append_text(folder.deleted, "")
    except OSError:
        return False
    return True


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _empty(folder: Path, kept: tuple[str, ...]) -> bool:
    """Remove what lies in a folder, but for some files; returns whether nothing else is left."""
    return _removed(path for path in _entries(folder) if path.name not in kept)


def _removed(paths: Iterable[Path]) -> bool:
    """Remove each; False where one stays, which keeps no other."""
    stay = [path for path in paths if not files.remove_what_can_be(path)]
    return not stay
