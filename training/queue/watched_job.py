"""One job as the supervisor knows it: what its folder says, and the process that runs it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...common import files, system
from ...common.errors import UserError
from ..jobs.job import Control, Job, JobFolder, Sharing, State
from ..jobs.phase import ENDED, LIVING, ShownPhase, shown_phase
from ..jobs.published import publish
from ..jobs.ticket import Published, Ticket, read_published, read_ticket
from .history import History, number
from .host import JobView

_MOST_DEATHS = 3  # in a row and without a new checkpoint
_KILL_PATIENCE_S = 2.0
_POLL_S = 0.05
_TAIL_BYTES = 400  # of the log, in the message of a job that cannot be run


class WatchedJob:
    """What is known of a job folder. Nothing here raises for what a folder may hold."""

    def __init__(self, path: Path):
        self.id, self.folder = path.name, JobFolder(path)
        self.state, self.control, self.published = State(), Control(), Published()
        self.child: subprocess.Popen[Any] | None = None
        self.alive = self.held = False  # a worker runs it or is about to; it holds the lock
        self.sharing: Sharing | None = None  # what its worker was last asked, when known
        self.left = False  # its worker gave the process back while it waited
        self.ending = False  # its worker lives on, but is done with it: it waits for the next one
        self.deaths, self._checkpoint = 0, ""
        self.damage = self.unreadable = self.trouble = ""  # of the spec, of the state, of a start
        self.publish_trouble = self.write_trouble = ""  # of its adapter, of its folder
        self.published_yet = False  # whether the newest export is where artists find it
        self.deleting = False
        self.ticket = Ticket(path.name, path.name, "motion", "", _creation_time(path))
        self.job: Job | None = None
        try:
            self.ticket = read_ticket(path)
            self.job = self.folder.load()
        except (UserError, OSError) as error:
            self.damage = str(error)
        self.read_published()
        stages = self.job.recipe.stages if self.job else ()
        self.history = History(path, tuple(stage.steps for stage in stages))

    def look(self) -> None:
        """Read what is new in the folder."""
        was_alive, was_held, before = self.alive, self.held, self.state.phase
        self.held = held = self._is_held()
        running = self.child is not None and self.child.poll() is None
        try:  # after the lock: what a dead worker wrote is final
            self.state = self.folder.read_state()
            self.control = self.folder.read_control()
            self.unreadable = ""
        except (UserError, OSError) as error:
            self.unreadable = str(error)
        self.alive = held or running
        if held and not running:
            self.child = None  # another one was faster: a worker of an earlier life or by hand
        if held and not was_held and self.child is None:
            self.sharing = None
        if was_alive:
            self._note_ending(before)
        if was_alive and not self.alive:
            self._worker_ended()
        self.ending &= self.alive
        self.history.update()

    def _is_held(self) -> bool:
        try:
            return system.is_held(self.folder.lock)
        except OSError:  # a folder that nobody may write to has no worker
            return False

    def _note_ending(self, before: str) -> None:
        """See whether a worker is done with a job that the artist wants to go on, and keep it so.

        A process may live for seconds after its last word, and what it decided before it saw a
        command may be written after the command. before: the phase at the last look.
        """
        phase, wanted = self.state.phase, self.control.wanted
        if phase == "waiting":
            if before != "waiting":
                self.ending, self.left = True, before in LIVING
        elif wanted != "stop" and (phase == "stopped" or (phase == "failed" and self.ending)):
            self._write(self.wait_again)  # on a full disk it is tried again at the next look
        else:
            self.ending = False

    def wait_again(self) -> None:
        """Have a job that has ended wait for its next worker. Raises OSError on a full disk."""
        old = self.state
        waiting = State("waiting", old.stage, old.step, old.steps)
        self.folder.write_state(waiting)
        self.state, self.ending, self.left = waiting, True, False

    def _worker_ended(self) -> None:
        code = self.child.returncode if self.child is not None else None
        self.child, self.sharing, self.write_trouble = None, None, ""
        phase = self.state.phase
        if not self.ending:
            self.left = phase == "waiting" and not code
        if phase in ENDED or self.ending or self.left:
            self.deaths = 0
            return
        checkpoint = self._latest_checkpoint()
        self.deaths = 1 if checkpoint != self._checkpoint else self.deaths + 1
        self._checkpoint = checkpoint
        if self.deaths >= _MOST_DEATHS:
            tail = self.log_tail(_TAIL_BYTES).strip() or "its log is empty"
            self.fail(f"The worker ended {self.deaths} times without a new checkpoint: {tail}")

    def fail(self, message: str) -> None:
        """Mark the job failed, in its folder where that can be written."""
        old = self.state
        self.state = State("failed", old.stage, old.step, old.steps, " ".join(message.split()))
        try:
            self.folder.write_state(self.state)
        except OSError:
            self.trouble = self.state.message

    def start(self, command: list[str], sharing: Sharing) -> None:
        """Start a worker. What prevents that is kept as the job's trouble."""
        self.left = self.ending = False
        self._checkpoint = self._latest_checkpoint()
        try:
            self.folder.share(sharing)
            self.child = system.spawn(command, self.folder.log)
        except OSError as error:
            self.trouble = f"The worker cannot be started: {error}"[:300]
            return
        self.sharing, self.alive = sharing, True

    def ask(self, sharing: Sharing) -> None:
        """Say what sharing the device asks of the worker, where that is news."""
        if sharing == self.sharing:
            self.write_trouble = ""
        elif self._write(lambda: self.folder.share(sharing)):
            self.sharing = sharing

    def _write(self, action: Callable[[], None]) -> bool:
        """Write into the folder; what prevents that is the job's trouble until it succeeds."""
        try:
            action()
        except OSError as error:
            self.write_trouble = f"The job's folder cannot be written to: {error}"[:300]
            return False
        self.write_trouble = ""
        return True

    def end_worker(self, patience_s: float) -> None:
        """Ask the worker to stop, and kill it when it does not listen; returns when it is gone."""
        deadline = time.monotonic() + patience_s
        try:
            self.folder.send("stop")
        except (OSError, UserError):
            deadline = 0.0
        while self._is_held() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        child = self.child  # the watching thread forgets it as soon as it is gone
        if child is not None:
            child.kill()
            child.wait()
        deadline = time.monotonic() + _KILL_PATIENCE_S
        while self._is_held() and time.monotonic() < deadline:
            try:  # the lock is held, so this is the pid of a living worker
                system.kill(int(files.read_text(self.folder.pid)))
            except (OSError, ValueError):
                return
            time.sleep(_POLL_S)

    def read_published(self) -> None:
        """See where whoever steers the jobs has put the adapter."""
        try:
            self.published = read_published(self.folder.path)
        except (OSError, UserError):
            self.published = Published()

    def try_publish(self) -> None:
        """Bring the newest export to where artists find it."""
        if self.job is None or self.damage or not (self.state.step or self.state.stage):
            return
        try:
            self.published = publish(self.folder, self.job, self.ticket)
            self.published_yet, self.publish_trouble = True, ""
        except (OSError, UserError) as error:
            self.published_yet = False
            self.publish_trouble = f"The adapter is in the job's folder only: {error}"[:300]

    @property
    def wants_worker(self) -> bool:
        """Whether it shall run and nobody runs it. A stop counts: its adapter is yet to write."""
        waiting = self.state.phase == "waiting" or self.state.phase in LIVING
        able = not (self.worked_on or self.deleting or self.failure)
        return waiting and able and self.control.wanted != "pause"

    @property
    def worked_on(self) -> bool:
        """Whether a worker runs it, or is about to; not one that only has to end its process."""
        return self.alive and not self.ending

    @property
    def failure(self) -> str:
        """Why the job can be neither read nor started; empty when it can."""
        return self.damage or self.unreadable or self.trouble

    def phase(self, steering: bool) -> ShownPhase:
        """The phase that pages show. steering: whether this supervisor starts jobs."""
        if self.failure:
            return "failed"
        return shown_phase(
            self.state.phase,
            worked_on=self.worked_on,
            held=self.held,
            pause=self.control.wanted == "pause",
            taken_up=steering,
        )

    def view(self, steering: bool, position: int | None, seq: int) -> JobView:
        """What pages show of the job. steering: as for ``phase``; seq: the board's."""
        phase, last, ticket = self.phase(steering), self.history.last, self.ticket
        same_stage = last.get("stage") == self.state.stage
        stages = self.job.recipe.stages if self.job else ()
        steps = stages[self.state.stage].steps if 0 <= self.state.stage < len(stages) else 0
        running = phase == "running"
        message = self.failure or self.state.message or self.write_trouble or self.publish_trouble
        return {
            "id": self.id,
            "name": ticket.name,
            "kind": ticket.kind,
            "uid": ticket.uid,
            "created": ticket.created,
            "policy": ticket.policy,
            "phase": phase,
            "stage": self.state.stage,
            "step": last["step"] if same_stage else self.state.step,
            "steps": steps,
            "eta_s": number(last.get("eta_s")) if running else None,
            "seconds_per_step": number(last.get("seconds_per_step")),
            "memory_bytes": number(last.get("memory_bytes")),
            "tier": last.get("tier"),
            "message": message or self.history.note,
            "loss": self.history.loss.points(),
            "average": self.history.average.points(),
            "held_out": self.history.held_out.points(),
            "adapter": self._adapter(phase),
            "position": position,
            "samples": list(self.history.samples),
            "seq": seq,
        }

    def _adapter(self, phase: str) -> str | None:
        path = Path(self.published.path)
        ended = phase in ENDED and bool(self.published.stamp)
        return path.name if ended and path.is_file() else None

    def has_checkpoint(self) -> bool:
        return bool(self._latest_checkpoint())

    def _latest_checkpoint(self) -> str:
        try:
            latest = self.folder.checkpoints / "latest"
            return files.read_text(latest)
        except (OSError, UnicodeDecodeError):
            return ""

    def log_tail(self, size: int) -> str:
        """The last bytes of the log as text; empty when there is none."""
        try:
            with files.opened(self.folder.log) as file:
                file.seek(max(0, self.folder.log.stat().st_size - size))
                return file.read(size).decode("utf-8", errors="replace")
        except OSError:
            return ""


def _creation_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
