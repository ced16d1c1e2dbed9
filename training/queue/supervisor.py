"""Jobs in a queue, one at a time, sharing the device with whoever else computes on it.

The folders are the truth: a supervisor that ends loses nothing, and the next one takes up what
it finds, living workers included. Only the standard library, because ComfyUI's process runs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Any

from ...common import files, system
from ...common.errors import UserError
from ...common.output import log
from ..jobs.job import Job, Sharing
from ..jobs.ticket import Ticket
from .awaiting import Taking
from .board import Board, new_folder, no_room
from .commands import COMMANDS, Command, obey
from .history import end_of
from .host import Host, JobView
from .trash import Trash
from .watched_job import WatchedJob

_POLL_S = 0.1
_SCAN_S = 1.0  # between looks for folders that came or went, and at jobs that have ended


class Supervisor:
    """The jobs of one root folder.

    worker: the command line of a process that runs a job folder; host: who else wants the device,
    and who is told what is new; idle_s: how long the device must be free before a job that gave
    way goes on. Where two processes have one root, the first steers; the other shows and passes
    on commands, and takes over when the first is gone.
    """

    def __init__(
        self, root: Path, worker: Callable[[Path], list[str]], host: Host, *, idle_s: float = 5.0
    ):
        self._board = Board(root)
        self._worker, self._host = worker, host
        self._idle_s, self._busy, self._free_at = idle_s, False, -idle_s
        self._scanned = -_SCAN_S
        self._brought: set[str] = set()  # ids of jobs whose adapter has found its place, or not
        self._steering = ExitStack()  # holds the root's lock file
        self._guard, self._end = threading.RLock(), threading.Event()
        self._trash, self._taking = Trash(self._board, self._guard), Taking()
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(turn,), name=f"still-moving{turn.__name__}", daemon=True
            )
            for turn in (self._watch, self._publish, self._find, self._remove)
        ]

    def start(self) -> None:
        """Begin to watch. Jobs that are there already are known when this returns."""
        with self._guard:
            first = self._step(time.monotonic())
        self._launch(first)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop watching; workers live on."""
        self._end.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._board.steering = False
        self._steering.close()

    # What nodes and routes call, from any thread. Looking never waits, for no file and no command.

    def views(self) -> list[JobView]:
        """Every job, newest first."""
        return self._board.views()

    def view(self, id: str) -> JobView:
        """Raises UserError for a job that is not there, as everything below does."""
        return self._board.view(id)

    def folder(self, id: str) -> Path:
        return self._board.jobs / self._board.view(id)["id"]

    def log(self, id: str, bytes: int = 65536) -> str:
        """The end of a worker's log."""
        with self._guard:
            watched = self._board.find(id)
        return end_of(watched.folder.log, bytes)

    def latest(self, uid: str) -> JobView | None:
        """The newest job of a node."""
        return next((view for view in self.views() if view["uid"] == uid), None)

    def latest_finished(self, uid: str) -> JobView | None:
        """The newest job of a node that has ended with an adapter."""
        finished = (view for view in self.views() if view["uid"] == uid and view["adapter"])
        return next(finished, None)

    def add(self, job: Job, ticket: Ticket) -> JobView:
        """Put a job into the queue. Raises UserError when there is no place for its folder."""
        try:
            files.patient(lambda: self._board.check_new(ticket.id))
            with new_folder(self._board.jobs, job, ticket) as new:
                return files.patient(lambda: self._admit(new, ticket))
        except OSError as error:
            raise no_room(self._board.jobs, error) from None

    def _admit(self, new: Path, ticket: Ticket) -> JobView:
        with self._guard:
            self._board.admit(new, ticket)
            return self._refreshed(ticket.id)

    def command(self, id: str, command: str) -> JobView:
        """Carry out an artist's command: one of ``COMMANDS``."""
        if command not in COMMANDS:
            raise UserError("command", repr(command)[:60], " or ".join(COMMANDS), "Choose one.")
        try:
            if command == "open":
                system.open_folder(self.folder(id))
            # What the system refuses for an instant is tried again without the guard meanwhile.
            return files.patient(lambda: self._commanded(id, command))
        except OSError as error:
            raise no_room(self._board.jobs / id, error) from None

    def _commanded(self, id: str, command: Command) -> JobView:
        with self._guard:
            watched = self._board.find(id)
            self._board.look(watched)
            obey(self._board, watched, command)
            watched.publishing.hurry()
            return self._refreshed(id)

    def reorder(self, ids: list[str]) -> None:
        """Put waiting jobs into this order, before those that are not named."""
        try:
            files.patient(lambda: self._reorder(ids))
        except OSError as error:
            raise no_room(self._board.root, error) from None

    def _reorder(self, ids: list[str]) -> None:
        with self._guard:
            for id in ids:
                self._board.find(id)
            self._board.put(ids, first=True)
            self._board.refresh()

    def delete(self, id: str) -> None:
        """Stop a job, remove its folder and what only it used. Takes up to 20 s.

        What somebody has open goes later, by itself; the job is gone from every view at once.
        Raises UserError where the job stays (``Trash.delete``). The published adapter stays.
        """
        with self._guard:
            watched = self._board.find(id)
        self._trash.delete(watched)

    def _refreshed(self, id: str) -> JobView:
        self._board.look(self._board.watched[id])
        self._board.refresh()
        return self._board.view(id)

    # The threads

    def _watch(self) -> None:
        """Look at what changed, do what follows, and tell; a process is made without the guard."""
        now = time.monotonic()
        with self._guard:
            first = self._step(now)
            views, removed = self._board.news(now)
        self._launch(first)
        for id in removed:
            self._host.on_removed({"id": id})
        for view in views:
            self._host.on_view(view)

    def _launch(self, first: tuple[WatchedJob, Sharing] | None) -> None:
        if first is None:
            return
        watched, sharing = first
        outcome: Popen[Any] | OSError = OSError("no process")
        try:
            outcome = watched.launch(self._worker(watched.folder.path), sharing)
        finally:
            with self._guard:
                watched.launched(outcome, sharing)

    def _publish(self) -> None:
        """Bring adapters to where artists, or other jobs, find them: copies take their time."""
        now = time.monotonic()
        with self._guard:
            watched = self._board.watched.values() if self._board.steering else ()
            due = [it for it in watched if it.publishing.is_due(now) and not it.deleting]
            takings = self._taking.due(self._board.watched) if self._board.steering else ()
        self._taking.take(takings)
        for job in due:
            with self._guard:
                taken = self._board.promised(but=job.id)
            job.publishing.attempt(taken)
            with self._guard:
                self._brought.add(job.id)

    def _find(self) -> None:
        """Look whether published adapters are still there: a network drive may be slow to say."""
        with self._guard:
            every = [watched.publishing for watched in self._board.watched.values()]
        for publishing in every:
            publishing.look()
        self._end.wait(_SCAN_S)

    def _remove(self) -> None:
        if self._board.steering:
            self._trash.turn(time.monotonic())

    def _repeat(self, turn: Callable[[], None]) -> None:
        logged = ""
        while not self._end.wait(_POLL_S):
            try:
                turn()
                logged = ""
            except Exception as error:  # watching goes on: a full disk, say, may be mended
                if str(error) != logged:
                    log.exception("Still-Moving cannot watch its jobs")
                logged = str(error)

    def _step(self, now: float) -> tuple[WatchedJob, Sharing] | None:
        """Look at what changed; returns the job whose worker is to be started, if any."""
        board, first = self._board, None
        self._note_busy(now)
        waiting = {watched.id for watched in board.queue()}
        live = (id for id, it in board.watched.items() if it.alive or it.history.more)
        lively = waiting.union(live, self._brought & set(board.watched))
        self._brought.clear()
        if now - self._scanned >= _SCAN_S:
            self._scanned = now
            self._take_over()
            board.scan()
            lively = set(board.watched)
        for id in lively:
            board.look(board.watched[id])
        if board.steering:
            self._steer(now)
            first = self._next(now)
        board.refresh(lively)
        return first

    def _take_over(self) -> None:
        """Become the one that starts jobs, unless another process is."""
        if self._board.steering:
            return
        stack = ExitStack()
        try:
            files.make_folder(self._board.jobs)
            lock = system.exclusive(self._board.root / "supervisor.lock", patience_s=0.0)
            self._board.steering = stack.enter_context(lock)
            self._board.looks_on(None)
        except OSError as error:
            self._board.looks_on(error)  # its jobs can only be shown
        if self._board.steering:
            self._steering = stack
        else:
            stack.close()

    def _note_busy(self, now: float) -> None:
        self._busy = self._host.busy()
        if self._busy:
            self._free_at = now + self._idle_s

    def _sharing(self, watched: WatchedJob, now: float) -> Sharing:
        """What sharing asks of a job now, by its policy; the artist's pause is another matter."""
        policy = watched.ticket.policy
        # One that runs gives way to work; one that gave way, or is new, waits for some quiet.
        wait = self._busy or (now < self._free_at and watched.sharing != "run")
        return policy if wait and policy != "share" else "run"

    def _steer(self, now: float) -> None:
        """Tell living workers what sharing asks of them; a paused one makes place for the next."""
        others_wait = bool(self._board.ready())
        for watched in self._board.watched.values():
            if watched.worked_on and not watched.deleting:
                paused = watched.control.wanted == "pause"
                watched.ask("leave" if paused and others_wait else self._sharing(watched, now))

    def _next(self, now: float) -> tuple[WatchedJob, Sharing] | None:
        queue = self._board.ready()
        if not queue or any(it.alive for it in self._board.watched.values()) or self._trash.busy():
            return None
        first = queue[0]
        sharing = self._sharing(first, now)
        # A worker that loads waits for the device itself, so a new job need not wait to load.
        if sharing != "run" and first.left:
            return None
        first.begin()
        return first, sharing
