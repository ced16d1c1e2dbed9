"""Jobs in a queue, one at a time, sharing the device with whoever else computes on it.

The folders are the truth: a supervisor that ends loses nothing, and the next one takes up what
it finds, living workers included. Only the standard library, because ComfyUI's process runs it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...common import system
from ...common.errors import UserError
from ..jobs.job import Job, Sharing, State
from ..jobs.phase import ENDED
from ..jobs.published import remove_unshared
from ..jobs.ticket import Ticket
from .board import Board, JobView
from .watched_job import WatchedJob

COMMANDS = ("pause", "resume", "stop", "save", "sample", "open")
_POLL_S = 0.1
_SCAN_S = 1.0  # between looks for folders that came or went, and at jobs that have ended
_STOP_PATIENCE_S = 10.0  # for a worker whose job is being deleted


class Supervisor:
    """The jobs of one root folder.

    command: the arguments of a process that runs a job folder; busy: whether others want the
    device; tell: called with each view that is news; forget: called with {"id"} of a job that is
    gone; idle_s: how long the device must be free before a job that gave way goes on. busy, tell
    and forget are called from this object's thread. Where two processes have one root, the first
    steers; the other shows and passes on commands, and takes over when the first is gone.
    """

    def __init__(
        self,
        root: Path,
        command: Callable[[Path], list[str]],
        busy: Callable[[], bool],
        tell: Callable[[JobView], None],
        forget: Callable[[dict[str, Any]], None] = lambda gone: None,
        *,
        idle_s: float = 5.0,
    ):
        self._board = Board(root)
        self._command, self._busy, self._tell, self._forget = command, busy, tell, forget
        self._idle_s, self._busy_now, self._free_at = idle_s, False, -idle_s
        self._scanned = -_SCAN_S
        self._steering = ExitStack()  # holds the root's lock file
        self._guard, self._end = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="still-moving", daemon=True)

    def start(self) -> None:
        """Begin to watch. Jobs that are there already are known when this returns."""
        with self._guard:
            self._step(time.monotonic())
        self._thread.start()

    def close(self) -> None:
        """Stop watching; workers live on."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._board.steering = False
        self._steering.close()

    # What nodes and routes call, from any thread

    def views(self) -> list[JobView]:
        """Every job, newest first."""
        with self._guard:
            return self._board.views()

    def view(self, id: str) -> JobView:
        """Raises UserError for a job that is not there, as everything below does."""
        with self._guard:
            return self._board.view(id)

    def folder(self, id: str) -> Path:
        with self._guard:
            return self._board.entry(id).folder.path

    def log(self, id: str, bytes: int = 65536) -> str:
        """The end of a worker's log."""
        with self._guard:
            entry = self._board.entry(id)
        return entry.log_tail(bytes)

    def latest(self, uid: str) -> JobView | None:
        """The newest job of a node."""
        return next((v for v in self.views() if v["uid"] == uid), None)

    def latest_finished(self, uid: str) -> JobView | None:
        """The newest job of a node that has ended with an adapter."""
        return next((v for v in self.views() if v["uid"] == uid and v["adapter"]), None)

    def add(self, job: Job, ticket: Ticket) -> JobView:
        """Put a job into the queue. Raises UserError when there is no place for its folder."""
        with self._guard:
            try:
                self._board.add(job, ticket)
            except OSError as error:
                raise _no_room(self._board.jobs, error) from None
            return self._refreshed(ticket.id)

    def command(self, id: str, what: str) -> JobView:
        """Carry out what the artist asks of a job: one of ``COMMANDS``."""
        if what not in COMMANDS:
            raise UserError("command", repr(what)[:60], " or ".join(COMMANDS), "Choose one.")
        with self._guard:
            entry = self._board.entry(id)
            self._board.look(entry)
            try:
                self._obey(entry, what)
            except OSError as error:
                raise _no_room(entry.folder.path, error) from None
            return self._refreshed(id)

    def _obey(self, entry: WatchedJob, what: str) -> None:
        folder, ended = entry.folder, entry.state.phase in ENDED
        if what == "open":
            system.open_folder(folder.path)
        elif entry.damage:
            raise UserError(entry.id, "a damaged job", "a whole one", "Delete it and start anew.")
        elif what in ("save", "sample"):
            if ended or not entry.worked_on:
                raise UserError(entry.id, "no worker at this job", "a running job", "Resume it.")
            folder.send(save=what == "save", sample=what == "sample")
        elif what == "resume":
            self._resume(entry, ended)
        elif not ended:
            folder.send("pause" if what == "pause" else "stop")
            if what == "stop" and not entry.worked_on:
                self._stop_waiting(entry)

    def _resume(self, entry: WatchedJob, ended: bool) -> None:
        """Have a job go on: at once, or when the process that ended it is gone."""
        if entry.state.phase == "finished":
            raise UserError(entry.id, "a finished job", "one that is not", "Press Train again.")
        entry.trouble, entry.deaths, entry.left = "", 0, False
        entry.folder.send("run")  # first: a stop that stands would end the job again
        if ended:
            entry.wait_again()
            self._board.put([entry.id], first=False)

    def _stop_waiting(self, entry: WatchedJob) -> None:
        """End a job that nobody runs: at once if nothing is learned, else by its next worker."""
        if entry.has_checkpoint():
            self._board.put([entry.id], first=True)
        else:
            entry.folder.write_state(State("stopped"))

    def reorder(self, ids: list[str]) -> None:
        """Put waiting jobs into this order, before those that are not named."""
        with self._guard:
            for id in ids:
                self._board.entry(id)
            try:
                self._board.put(ids, first=True)
            except OSError as error:
                raise _no_room(self._board.root, error) from None
            self._board.refresh()

    def delete(self, id: str) -> None:
        """Stop a job, remove its folder and what only it used. Takes up to 12 s.

        Raises UserError when the folder cannot be removed. The published adapter stays.
        """
        with self._guard:
            entry = self._board.entry(id)
            entry.deleting = True
        try:
            entry.end_worker(_STOP_PATIENCE_S)
            with self._guard:
                system.remove_tree(entry.folder.path)
                self._board.drop(id)
                others = [other.ticket for other in self._board.entries.values()]
                remove_unshared(self._board.root, entry.ticket, others)
        except OSError as error:
            raise UserError(
                entry.folder.path, f"a folder that cannot be removed ({error.strerror})",
                "one that nobody has open", "Close what reads it, and delete the job again.",
            ) from None  # fmt: skip
        finally:
            entry.deleting = False

    def _refreshed(self, id: str) -> JobView:
        self._board.look(self._board.entries[id])
        self._board.refresh()
        return self._board.view(id)

    # The thread

    def _run(self) -> None:
        said = ""
        while not self._end.wait(_POLL_S):
            try:
                now = time.monotonic()
                with self._guard:
                    self._step(now)
                    views, gone = self._board.news(now)
                for id in gone:
                    self._forget({"id": id})
                for view in views:
                    self._tell(view)
                said = ""
            except Exception as error:  # watching goes on: a full disk, say, may be mended
                if str(error) != said:
                    logging.getLogger(__name__).exception("Still-Moving cannot watch its jobs")
                said = str(error)

    def _step(self, now: float) -> None:
        """Look at what changed, and do what follows."""
        board = self._board
        self._note_busy(now)
        waiting = {entry.id for entry in board.queue()}
        lively = waiting | {id for id, entry in board.entries.items() if entry.alive}
        if now - self._scanned >= _SCAN_S:
            self._scanned = now
            self._take_over()
            board.scan()
            lively = set(board.entries)
        for id in lively:
            board.look(board.entries[id])
        if board.steering:
            self._steer(now)
            self._start_next(now)
        board.refresh(lively)

    def _take_over(self) -> None:
        """Become the one that starts jobs, unless another process is."""
        if self._board.steering:
            return
        stack = ExitStack()
        try:
            self._board.jobs.mkdir(parents=True, exist_ok=True)
            lock = system.exclusive(self._board.root / "supervisor.lock", patience_s=0.0)
            self._board.steering = stack.enter_context(lock)
        except OSError:
            return  # a folder that cannot be written to: its jobs can only be shown
        if self._board.steering:
            self._steering = stack
        else:
            stack.close()

    def _note_busy(self, now: float) -> None:
        self._busy_now = self._busy()
        if self._busy_now:
            self._free_at = now + self._idle_s

    def _sharing(self, entry: WatchedJob, now: float) -> Sharing:
        """What a job's policy asks of it now; the artist's pause is another matter."""
        if entry.ticket.policy == "share":
            return "run"
        # One that runs gives way to work; one that gave way, or is new, waits for some quiet.
        wait = self._busy_now or (now < self._free_at and entry.asked != "run")
        way: Sharing = "yield" if entry.ticket.policy == "yield" else "hold"
        return way if wait else "run"

    def _steer(self, now: float) -> None:
        """Tell living workers what sharing asks of them; a paused one makes place for the next."""
        others_wait = bool(self._board.queue())
        for entry in self._board.entries.values():
            if entry.worked_on and not entry.deleting:
                paused = entry.control.wanted == "pause"
                entry.ask("leave" if paused and others_wait else self._sharing(entry, now))

    def _start_next(self, now: float) -> None:
        queue = self._board.queue()
        if not queue or any(entry.alive for entry in self._board.entries.values()):
            return
        first = queue[0]
        sharing = self._sharing(first, now)
        # A worker that loads waits for the device itself, so a new job need not wait to load.
        if sharing == "run" or not first.left:
            first.start(self._command(first.folder.path), sharing)


def _no_room(path: Path, error: OSError) -> UserError:
    return UserError(
        path, f"a folder that takes no file ({error.strerror})", "one that does",
        "Free some space, or let ComfyUI write there.",
    )  # fmt: skip
