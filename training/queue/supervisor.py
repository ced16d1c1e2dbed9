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
from typing import Literal, get_args

from ...common import files, system
from ...common.errors import UserError
from ...common.output import log
from ..jobs.job import Job, Sharing, State
from ..jobs.phase import ENDED
from ..jobs.published import remove_unshared
from ..jobs.ticket import Ticket
from .board import Board
from .host import Host, JobView
from .watched_job import WatchedJob

Command = Literal["pause", "resume", "stop", "save", "sample", "open"]
COMMANDS: tuple[Command, ...] = get_args(Command)
_POLL_S = 0.1
_SCAN_S = 1.0  # between looks for folders that came or went, and at jobs that have ended
_STOP_PATIENCE_S = 10.0  # for a worker whose job is being deleted


class Supervisor:
    """The jobs of one root folder.

    worker: the command line of a process that runs a job folder; host: who else wants the device,
    and who is told what is new; idle_s: how long the device must be free before a job that gave
    way goes on. Where two processes have one root, the first steers; the other shows and passes
    on commands, and takes over when the first is gone.
    """

    def __init__(
        self,
        root: Path,
        worker: Callable[[Path], list[str]],
        host: Host,
        *,
        idle_s: float = 5.0,
    ):
        self._board = Board(root)
        self._worker, self._host = worker, host
        self._idle_s, self._busy, self._free_at = idle_s, False, -idle_s
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
            return self._board.find(id).folder.path

    def log(self, id: str, bytes: int = 65536) -> str:
        """The end of a worker's log."""
        with self._guard:
            watched = self._board.find(id)
        return watched.log_tail(bytes)

    def latest(self, uid: str) -> JobView | None:
        """The newest job of a node."""
        return next((view for view in self.views() if view["uid"] == uid), None)

    def latest_finished(self, uid: str) -> JobView | None:
        """The newest job of a node that has ended with an adapter."""
        finished = (view for view in self.views() if view["uid"] == uid and view["adapter"])
        return next(finished, None)

    def add(self, job: Job, ticket: Ticket) -> JobView:
        """Put a job into the queue. Raises UserError when there is no place for its folder."""
        with self._guard:
            try:
                self._board.add(job, ticket)
            except OSError as error:
                raise _no_room(self._board.jobs, error) from None
            return self._refreshed(ticket.id)

    def command(self, id: str, command: str) -> JobView:
        """Carry out an artist's command: one of ``COMMANDS``."""
        if command not in COMMANDS:
            raise UserError("command", repr(command)[:60], " or ".join(COMMANDS), "Choose one.")
        with self._guard:
            watched = self._board.find(id)
            self._board.look(watched)
            try:
                self._obey(watched, command)
            except OSError as error:
                raise _no_room(watched.folder.path, error) from None
            return self._refreshed(id)

    def _obey(self, watched: WatchedJob, command: Command) -> None:
        folder, ended = watched.folder, watched.state.phase in ENDED
        if command == "open":
            system.open_folder(folder.path)
        elif watched.damage:
            raise UserError(watched.id, "a damaged job", "a whole one", "Delete it and start anew.")
        elif command in ("save", "sample"):
            if ended or not watched.worked_on:
                raise UserError(watched.id, "no worker at this job", "a running job", "Resume it.")
            folder.send(save=command == "save", sample=command == "sample")
        elif command == "resume":
            self._resume(watched, ended)
        elif not ended:
            folder.send(command)
            if command == "stop" and not watched.worked_on:
                self._stop_waiting(watched)

    def _resume(self, watched: WatchedJob, ended: bool) -> None:
        """Have a job go on: at once, or when the process that ended it is gone."""
        if watched.state.phase == "finished":
            raise UserError(watched.id, "a finished job", "one that is not", "Press Train again.")
        watched.trouble, watched.deaths, watched.left = "", 0, False
        watched.folder.send("run")  # first: a stop that stands would end the job again
        if ended:
            watched.wait_again()
            self._board.put([watched.id], first=False)

    def _stop_waiting(self, watched: WatchedJob) -> None:
        """End a job that nobody runs: at once if nothing is learned, else by its next worker."""
        if watched.has_checkpoint():
            self._board.put([watched.id], first=True)
        else:
            watched.folder.write_state(State("stopped"))

    def reorder(self, ids: list[str]) -> None:
        """Put waiting jobs into this order, before those that are not named."""
        with self._guard:
            for id in ids:
                self._board.find(id)
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
            watched = self._board.find(id)
            watched.deleting = True
        try:
            watched.end_worker(_STOP_PATIENCE_S)
            with self._guard:
                files.remove_tree(watched.folder.path)
                self._board.drop(id)
                others = [other.ticket for other in self._board.watched.values()]
                remove_unshared(self._board.root, watched.ticket, others)
        except OSError as error:
            raise UserError(
                watched.folder.path, f"a folder that cannot be removed ({error.strerror})",
                "one that nobody has open", "Close what reads it, and delete the job again.",
            ) from None  # fmt: skip  # file, found, expected, next move
        finally:
            watched.deleting = False

    def _refreshed(self, id: str) -> JobView:
        self._board.look(self._board.watched[id])
        self._board.refresh()
        return self._board.view(id)

    # The thread

    def _run(self) -> None:
        logged = ""
        while not self._end.wait(_POLL_S):
            try:
                now = time.monotonic()
                with self._guard:
                    self._step(now)
                    views, removed = self._board.news(now)
                for id in removed:
                    self._host.on_removed({"id": id})
                for view in views:
                    self._host.on_view(view)
                logged = ""
            except Exception as error:  # watching goes on: a full disk, say, may be mended
                if str(error) != logged:
                    log.exception("Still-Moving cannot watch its jobs")
                logged = str(error)

    def _step(self, now: float) -> None:
        """Look at what changed, and do what follows."""
        board = self._board
        self._note_busy(now)
        waiting = {watched.id for watched in board.queue()}
        lively = waiting | {id for id, watched in board.watched.items() if watched.alive}
        if now - self._scanned >= _SCAN_S:
            self._scanned = now
            self._take_over()
            board.scan()
            lively = set(board.watched)
        for id in lively:
            board.look(board.watched[id])
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
            files.make_folder(self._board.jobs)
            lock = system.exclusive(self._board.root / "supervisor.lock", patience_s=0.0)
            self._board.steering = stack.enter_context(lock)
        except OSError:
            return  # a folder that cannot be written to: its jobs can only be shown
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
        others_wait = bool(self._board.queue())
        for watched in self._board.watched.values():
            if watched.worked_on and not watched.deleting:
                paused = watched.control.wanted == "pause"
                watched.ask("leave" if paused and others_wait else self._sharing(watched, now))

    def _start_next(self, now: float) -> None:
        queue = self._board.queue()
        if not queue or any(watched.alive for watched in self._board.watched.values()):
            return
        first = queue[0]
        sharing = self._sharing(first, now)
        # A worker that loads waits for the device itself, so a new job need not wait to load.
        if sharing == "run" or not first.left:
            first.start(self._worker(first.folder.path), sharing)


def _no_room(path: Path, error: OSError) -> UserError:
    return UserError(
        path, f"a folder that takes no file ({error.strerror})", "one that does",
        "Free some space, or let ComfyUI write there.",
    )  # fmt: skip  # file, found, expected, next move
