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

from ...common import files, system
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
        folder and that cannot be removed either; then the job stays, whole.
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
                self._keep(id, folder, marked)
            elif marked and watched.loaded:
                # Whoever steers makes the copy that is yet to make, beside.
                self._clear(id, watched.ticket, watched.publishing, copying=False)
            elif marked:
                self._go_on(id, copying=False)
            else:
                self._remove_whole(watched)
        finally:
            with self._guard:
                watched.deleting = False
                self._next.pop(id, None)

    def _keep(self, id: str, folder: JobFolder, marked: bool) -> None:
        """Take a deletion back, and raise UserError; one that cannot be taken back goes on."""
        if marked:
            try:
                files.remove(folder.deleted)
            except OSError:
                return
        with self._guard:
            self._board.exhume(id)
        try:
            system.is_held(folder.lock)
        except OSError as error:
            raise UserError(
                folder.lock, f"unreadable ({error.strerror})", "a file that shows who runs the job",
                "Let ComfyUI read it, and delete the job again.",
            ) from None  # fmt: skip  # file, found, expected, next move
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
        if end_worker(JobFolder(self._board.jobs / id), None, STOP_PATIENCE_S):
            self._go_on(id, copying=True)

    def _go_on(self, id: str, *, copying: bool) -> None:
        """Remove what can be of a job by what its folder says, once that can be read."""
        path = self._board.jobs / id
        if found := _read(path):
            ticket, job = found
            self._clear(id, ticket, Publishing(path, job, ticket), copying=copying)

    def _clear(self, id: str, ticket: Ticket, publishing: Publishing, *, copying: bool) -> None:
        """Remove what can be; what names the rest goes last.

        copying: as for ``withdraw``. What is yet to bring stays until it is brought.
        """
        path, board, every = self._board.jobs / id, self._board, False
        aside: list[Path] = []
        with self._guard:  # so that no job that needs the same is added meanwhile
            others = self._others(id)
            if others is not None:
                aside, every = set_aside_unshared(board.root, ticket, others)
            taken = board.promised(but=id)
        for nameless in aside:
            files.discard(nameless)
        try:
            publishing.withdraw(taken, copying=copying)
        except OSError:
            _empty(path, JobFolder(path).exports.name)  # it may make room
            return
        try:
            if not _empty(path) or not every:
                return
            nameless = files.set_aside(path)
        except FileNotFoundError:
            pass  # somebody else was faster
        except OSError:
            return
        else:
            files.discard(nameless)
        with self._guard:
            board.drop(id)

    def _others(self, id: str) -> list[Ticket] | None:
        """Tickets of the other jobs; None while one cannot be read, which may need anything."""
        others = [other for other in self._board.watched.values() if other.id != id]
        return [other.ticket for other in others] if all(it.loaded for it in others) else None

    def _remove_whole(self, watched: WatchedJob) -> None:
        """Remove a job whose folder cannot be marked; all of it stays where UserError is raised."""
        path = self._board.jobs / watched.id
        found = (watched.ticket, watched.job) if watched.loaded else _read(path)
        try:
            if found is None:
                raise PermissionError
            ticket, job = found
            nameless, aside = files.patient(lambda: self._without_names(path, ticket))
        except OSError:
            raise UserError(
                path, "a folder that cannot be removed", "one that nobody has open",
                "Close what reads the jobs' folders, and delete the job again.",
            ) from None  # fmt: skip  # file, found, expected, next move
        with self._guard:
            taken = self._board.promised(but=watched.id)
        with contextlib.suppress(OSError):
            # By the old name it finds nothing to copy any more.
            watched.publishing.withdraw(taken, copying=False)
            Publishing(nameless, job, ticket).withdraw(taken, copying=True)
        for gone in (*aside, nameless):
            files.discard(gone)

    def _without_names(self, path: Path, ticket: Ticket) -> tuple[Path, list[Path]]:
        """Take the names off a job's folder, and then of what only it used: (folder, the rest)."""
        with self._guard:
            others = self._others(path.name)
            if others is None:
                raise PermissionError
            try:
                nameless = files.set_aside(path, patience_s=0)
            except FileNotFoundError:  # somebody else was faster
                nameless = path
            aside, _ = set_aside_unshared(self._board.root, ticket, others)
            self._board.drop(path.name)
        return nameless, aside

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


def _empty(folder: Path, *more: str) -> bool:
    """Remove what lies in a job's folder, but for what names the rest and ``more``; whether all."""
    names = JobFolder(folder)
    kept = (TICKET_FILE, PUBLISHED_FILE, names.spec.name, names.deleted.name, *more)
    return _removed(path for path in _entries(folder) if path.name not in kept)


def _read(path: Path) -> tuple[Ticket, Job | None] | None:
    """What a folder says of its job, blank where it is damaged; None while it cannot be read."""
    ticket, job = Ticket(path.name, path.name, "motion", "", 0.0), None
    try:
        with contextlib.suppress(UserError):
            ticket = files.patient(lambda: read_ticket(path, patient=False))
        with contextlib.suppress(UserError):
            job = files.patient(JobFolder(path, patient=False).load)
    except OSError:
        return None
    return ticket, job


def _removed(paths: Iterable[Path]) -> bool:
    """Remove each; False where one stays, which keeps no other."""
    stay = [path for path in paths if not files.remove_what_can_be(path)]
    return not stay
