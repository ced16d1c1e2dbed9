"""One job as the supervisor knows it: what its folder says, and the process that runs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...common import files, processes, system
from ...common.errors import UserError
from ..jobs.job import Control, Job, JobFolder, Sharing, State
from ..jobs.phase import ENDED, LIVING, ShownPhase, shown_phase
from ..jobs.ticket import Ticket, read_ticket
from .history import History, end_of, number
from .host import JobView, WaitsFor
from .publishing import Publishing

_MOST_DEATHS = 3  # in a row and without a new checkpoint
_TAIL_BYTES = 400  # of the log, in the message of a job that cannot be run


class WatchedJob:
    """What is known of a job folder. Nothing here raises for what a folder may hold, nor waits.

    What Windows refuses for an instant stays as it was; only what lasts is told.
    """

    def __init__(self, path: Path):
        self.id, self.folder = path.name, JobFolder(path, patient=False)
        self.state, self.control = State(), Control()
        self.child: subprocess.Popen[Any] | None = None
        self.alive = self.held = False  # a worker runs it or is about to; it holds the lock
        self.starting = False  # its process is just being made
        self.sharing: Sharing | None = None  # what its worker was last asked, when known
        self.left = False  # its worker gave the process back while it waited
        self.ending = False  # its worker lives on, but is done with it: it waits for the next one
        self.deaths, self._checkpoint = 0, ""
        self.damage = self.unreadable = self.trouble = ""  # of the spec, of the state, of a start
        self.write_trouble = ""  # of its folder
        self.deleting = False
        self._refused: dict[str, float] = {}  # what the system refuses, and since when
        self._shown: ShownPhase = "queued"  # the newest phase that pages heard of
        self.ticket = Ticket(path.name, path.name, "motion", "", _creation_time(path))
        self.job: Job | None = None
        self.loaded = self._load()

    def _load(self) -> bool:
        """Read what never changes; False where that is refused."""
        self.damage, path = "", self.folder.path
        try:
            self.ticket = read_ticket(path, patient=False)
            self.job = self.folder.load()
        except PermissionError as error:
            self.damage = str(error) if self._lasts("load") else ""
        except (UserError, OSError) as error:
            self.damage = str(error)
        else:
            self._refused.pop("load", None)
        self.publishing = Publishing(path, self.job, self.ticket)
        stages = self.job.recipe.stages if self.job else ()
        self.history = History(path, tuple(stage.steps for stage in stages))
        return "load" not in self._refused

    def _lasts(self, what: str) -> bool:
        """Note that the system refuses something; whether it has for longer than an instant."""
        since = self._refused.setdefault(what, time.monotonic())
        return time.monotonic() - since >= files.PATIENCE_S

    def look(self) -> None:
        """Read what is new in the folder."""
        self.loaded = self.loaded or self._load()
        was_alive, was_held, before = self.alive, self.held, self.state.phase
        self.held = held = self._is_held()
        running = self.starting or (self.child is not None and self.child.poll() is None)
        self._read()  # after the lock: what a dead worker wrote is final
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

    def _read(self) -> None:
        try:
            self.state = self.folder.read_state()
            self.control = self.folder.read_control()
        except PermissionError as error:
            if self._lasts("read"):
                self.unreadable = str(error)
            return
        except (UserError, OSError) as error:
            self.unreadable = str(error)
            return
        self.unreadable = ""
        self._refused.pop("read", None)

    def _is_held(self) -> bool:
        try:
            return system.is_held(self.folder.lock)
        except OSError:  # it cannot be told
            return self.held

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
            self.write(self.wait_again)  # on a full disk it is tried again at the next look
        else:
            self.ending = False

    def wait_again(self) -> None:
        """Have a job that has ended wait for its next worker. Raises OSError on a full disk."""
        waiting = replace(self.state, phase="waiting", message="")
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
        checkpoint = self._latest_progress()
        self.deaths = 1 if checkpoint != self._checkpoint else self.deaths + 1
        self._checkpoint = checkpoint
        if self.deaths >= _MOST_DEATHS:
            tail = end_of(self.folder.log, _TAIL_BYTES).strip() or "its log is empty"
            self.fail(f"The worker ended {self.deaths} times without a new checkpoint: {tail}")

    def fail(self, message: str) -> None:
        """Mark the job failed, in its folder where that can be written."""
        self.state = replace(self.state, phase="failed", message=" ".join(message.split()))
        try:
            self.folder.write_state(self.state)
        except OSError:
            self.trouble = self.state.message

    def begin(self) -> None:
        """Its worker is about to be started."""
        self.starting = self.alive = True
        self.left = self.ending = False
        self._checkpoint = self._latest_progress()

    def launch(self, command: list[str], sharing: Sharing) -> subprocess.Popen[Any] | OSError:
        """Start a worker, or return what prevents that. Takes a while, so nobody else may wait."""
        try:
            self.folder.share(sharing)
            return processes.spawn(command, self.folder.log)
        except OSError as error:
            return error

    def launched(self, outcome: subprocess.Popen[Any] | OSError, sharing: Sharing) -> None:
        """Take note of what became of a start; what prevents it for long is the job's trouble."""
        self.starting = False
        if not isinstance(outcome, OSError):
            self.child, self.sharing = outcome, sharing
            self._refused.pop("start", None)
            return
        self.alive = False
        if not isinstance(outcome, PermissionError) or self._lasts("start"):
            self.trouble = f"The worker cannot be started: {outcome}"[:300]

    def ask(self, sharing: Sharing) -> None:
        """Say what sharing the device asks of the worker, where that is news."""
        if sharing == self.sharing:
            self.write_trouble = ""
        elif self.write(lambda: self.folder.share(sharing)):
            self.sharing = sharing

    def write(self, action: Callable[[], None]) -> bool:
        """Write into the folder; what prevents that is the job's trouble until it succeeds."""
        try:
            action()
        except OSError as error:
            if not isinstance(error, PermissionError) or self._lasts("write"):
                self.write_trouble = f"The job's folder cannot be written to: {error}"[:300]
            return False
        self.write_trouble = ""
        self._refused.pop("write", None)
        return True

    def wish_published(self) -> None:
        """Have the newest export brought to where artists find it, if there can be one."""
        if not self.damage and not self.state.drawing and (self.state.step or self.state.stage):
            self.publishing.ask()

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
        shown = shown_phase(
            self.state.phase,
            worked_on=self.worked_on,
            held=self.held,
            pause=self.control.wanted == "pause",
            taken_up=steering,
        )
        ends = shown in ENDED and self._shown in LIVING
        if ends and steering and self.publishing.begins:
            return self._shown  # a job has ended when its adapter can be used
        self._shown = shown
        return shown

    def view(self, steering: bool, place: int | None, waits: WaitsFor | None, seq: int) -> JobView:
        """What pages show of the job. steering: as for ``phase``. place: in the queue."""
        phase, drawing, ticket = self.phase(steering), self.state.drawing, self.ticket
        last = self.history.drawn if drawing else self.history.last
        same_stage = last.get("stage") == self.state.stage and not drawing
        running = phase == "running"
        message = (
            self.failure or self.state.message or self.write_trouble or self.publishing.trouble
        ) or (self.publishing.progress if phase in ENDED else "")
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
            "steps": self.state.steps if drawing else self.history.steps_of(self.state.stage),
            "drawing": drawing,
            "eta_s": number(last.get("eta_s")) if running else None,
            "seconds_per_step": number(last.get("seconds_per_step")),
            "memory_bytes": number(last.get("memory_bytes")),
            "tier": last.get("tier"),
            "message": message or self.history.note,
            "loss": self.history.loss.points(),
            "average": self.history.average.points(),
            "held_out": self.history.held_out.points(),
            "adapter": self._adapter(phase),
            "position": place,
            "waits_for": waits,
            "samples": list(self.history.samples),
            "scales": list(self.history.scales),
            "motion": [list(row) for row in self.history.motion],
            "lost_motion": self.history.lost_motion() if ticket.kind == "spatial" else None,
            "seq": seq,
        }

    def _adapter(self, phase: str) -> str | None:
        it = self.publishing.published
        there = phase in ENDED and it.stamp and it.path != self.publishing.missing
        return Path(it.path).name if there else None

    def has_checkpoint(self) -> bool:
        return os.path.exists(self.folder.checkpoints / "latest")

    def _latest_progress(self) -> str:
        if self.state.drawing:
            return str(self.state.step)  # items that are there
        try:
            return files.read_text(self.folder.checkpoints / "latest", patience_s=0)
        except (OSError, UnicodeDecodeError):
            return ""


def _creation_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
