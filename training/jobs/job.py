"""A job folder: one run, its commands and what it reports. Both sides read and write it.

job.json      what to train on which files; written once
about.json    the ticket: whose job it is, and what becomes of it (ticket.py)
control.json  what the artist wants: run, pause or stop; save and sample requests
sharing.json  what sharing the device asks for meanwhile; never stands above the artist
state.json    the phase the worker is in
events.jsonl  one JSON object a line, appended
ckpt/         checkpoints; ``latest`` names the newest whole one
taken/        adapters of other jobs, which this one waited for (queue/awaiting.py)
export/       finished adapters
samples/      small clips made on the way
log.txt       what the worker printed
lock          held by who runs it, who has signed pid: its number, then its identity
deleted       an empty file: the job is deleted, and what is left of it goes as soon as it can
Only the standard library: ComfyUI's process reads this too.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...common import files, signatures, system
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...common.names import check_kept_name, check_new_path
from ..recipes.parse import parse
from ..recipes.recipe import Recipe, validate
from .phase import Phase, ShownPhase, shown_phase

Wanted = Literal["run", "pause", "stop"]
Sharing = Literal["run", "keep", "yield", "leave"]
_File = TypeVar("_File")  # what one of a job's files holds


@dataclass(frozen=True)
class Job:
    """A recipe and the files it is for. Paths are absolute."""

    name: str  # of the adapter file
    recipe: Recipe
    checkpoint: str
    motion_module: str
    sets: dict[str, str]  # the recipe's set names to folders of cached latents
    # The recipe's "use" names to files.
    adapters: dict[str, str] = field(default_factory=dict[str, str])
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sample_every: int = 0  # steps between small clips; 0: only on demand
    text_encoder: str = ""  # file with the CLIP that reads a recipe's words; "": the checkpoint
    tokenizer: str = ""  # folder with that CLIP's vocab.json and merges.txt, as ComfyUI has
    format: int = 1

    def to_json(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "recipe": self.recipe.to_data()}, indent=2)

    @classmethod
    def from_json(cls, text: str, origin: str = "job.json") -> Job:
        """Parse and validate. Raises UserError naming the field that is wrong."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                origin, f"no JSON ({error})", "a job", "Delete the folder and start again."
            ) from None
        job = parse(cls, data, origin)
        validate(job.recipe, origin)
        check_kept_name(job.name, f"{origin}: name")
        if job.sample_every < 0:
            raise UserError(
                origin, f"sample_every = {job.sample_every}", "0 or more", "Change sample_every."
            )
        return job


@dataclass(frozen=True)
class Control:
    """What the artist wants of a job."""

    wanted: Wanted = "run"
    save: int = 0  # counts "save now" requests
    sample: int = 0  # counts requests for a small clip


@dataclass(frozen=True)
class DeviceShare:
    """What whoever shares the device asks of a job, apart from what the artist wants.

    "keep": wait in place; "yield": wait in CPU memory; "leave": save and end the process. A file
    of its own, so that neither side can overwrite the other. "hold": 0.1.0's word for "keep".
    """

    sharing: Literal["run", "keep", "yield", "leave", "hold"] = "run"


@dataclass(frozen=True)
class State:
    """Where the worker is, or, while drawing, how many items there are; see ``shown_phase``."""

    phase: Phase = "waiting"
    stage: int = 0
    step: int = 0
    steps: int = 0
    message: str = ""
    drawing: bool = False  # whether its sets are being drawn, before the training


def first_process() -> bool:
    """Whether this process is alone, or the first that ``accelerate launch`` has started."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


class JobFolder:
    """The files of one job.

    patient: whether to outlast a refusal that passes, such as a virus scanner's. Without, it is
    raised at once as PermissionError: for whoever may not wait, and looks again.
    """

    def __init__(self, path: Path, *, patient: bool = True):
        self.path = Path(path)
        self._patient = patient
        self.spec = self.path / "job.json"
        self.control = self.path / "control.json"
        self.sharing = self.path / "sharing.json"
        self.state = self.path / "state.json"
        self.events = self.path / "events.jsonl"
        self.checkpoints = self.path / "ckpt"
        self.exports = self.path / "export"
        self.samples = self.path / "samples"
        self.log = self.path / "log.txt"
        self.lock = self.path / "lock"
        self.pid = self.path / "pid"  # of the lock's holder; means nothing while nobody holds it
        self.deleted = self.path / "deleted"  # while this is there, the job is nobody's any more

    @classmethod
    def create(cls, path: Path, job: Job) -> JobFolder:
        """Make a new job folder. Raises UserError when one is there already."""
        folder = cls(check_new_path(path))
        if folder.spec.exists():
            raise UserError(
                path, "a job", "a new folder", "Resume that job, or choose another folder."
            )
        try:
            files.make_folder(folder.path)
            atomic_write_text(folder.spec, job.to_json())
        except OSError as error:
            raise UserError(
                path,
                f"no place for a folder ({error.strerror})",
                "a new folder that may be written to",
                "Choose another folder.",
            ) from None
        return folder

    def load(self) -> Job:
        """The job. Raises UserError when the folder holds none."""
        try:
            text = self._text(self.spec, "a job")
        except FileNotFoundError:
            raise UserError(self.spec, "nothing", "a job", "Check the folder's name.") from None
        return Job.from_json(text, str(self.spec))

    def read_control(self) -> Control:
        """What is wanted now; no file means run."""
        return self._parsed(self.control, Control)

    def send(
        self, wanted: Wanted | None = None, *, save: bool = False, sample: bool = False
    ) -> None:
        """Ask the worker to run, pause or stop (with a save), to save now or to show a clip."""
        now = self.read_control()
        new = Control(wanted or now.wanted, now.save + save, now.sample + sample)
        self._write(self.control, json.dumps(dataclasses.asdict(new)))

    def read_sharing(self) -> Sharing:
        """What sharing the device asks for now; no file means run."""
        sharing = self._parsed(self.sharing, DeviceShare).sharing
        return "keep" if sharing == "hold" else sharing

    def share(self, sharing: Sharing) -> None:
        """Ask the worker to run, or to make room until it is asked again."""
        self._write(self.sharing, json.dumps({"sharing": sharing}))

    def read_state(self) -> State:
        return self._parsed(self.state, State)

    def write_state(self, state: State) -> None:
        self._write(self.state, json.dumps(dataclasses.asdict(state)))

    @contextmanager
    def owned(self) -> Generator[None, None, None]:
        """Be the job's one worker while the block runs, "loading" to begin with.

        Raises UserError when there is another, where none can be told from two, for a job that is
        deleted, or for a damaged state. Of the processes that a launcher starts together the first
        one holds the job for all.
        """
        if not first_process():
            yield
            return
        with ExitStack() as stack:
            try:
                held = stack.enter_context(system.exclusive(self.lock))
            except OSError as error:
                raise UserError(
                    self.lock, f"no lock ({error.strerror})", "a file that one process can hold",
                    "Let it be written to, or train on another disk.",
                ) from None  # fmt: skip  # file, found, expected, next move
            if not held:
                raise UserError(
                    self.path, "a worker already at this job", "none", "Wait for it, or stop it."
                )
            if self.deleted.exists():
                raise UserError(self.path, "a deleted job", "a job", "Start a new one.")
            files.sweep(self.path)
            atomic_write_text(self.pid, signatures.signature())
            # At once, in the place of what a worker that was killed wrote last.
            self.write_state(dataclasses.replace(self.read_state(), phase="loading", message=""))
            yield

    def phase(self) -> ShownPhase:
        """The phase as its files show it, to somebody who knows of no supervisor.

        Raises UserError for a damaged file.
        """
        held = system.is_held(self.lock)  # first: what a dead worker wrote is final
        phase, pause = self.read_state().phase, self.read_control().wanted == "pause"
        return shown_phase(phase, worked_on=held, held=held, pause=pause, taken_up=False)

    def report(self, event: str, **values: Any) -> dict[str, Any]:
        """Append one event and return it. A line that a crash tore is ignored by readers.

        A loss that is no number is written as null: JSON has no word for it.
        """
        whole: dict[str, Any] = {"event": event, "time": round(time.time(), 3)}
        for name, value in values.items():
            number = isinstance(value, float)
            whole[name] = None if number and not math.isfinite(value) else value
        files.append_text(self.events, json.dumps(whole) + "\n")
        return whole

    def read_events(self) -> Iterator[dict[str, Any]]:
        """Events in order; a torn last line is left out."""
        if not self.events.exists():
            return
        with files.opened(self.events) as file:
            for line in file:
                try:
                    event = json.loads(line.decode("utf-8", errors="replace"))
                except json.JSONDecodeError:
                    continue
                if line.endswith(b"\n") and isinstance(event, dict):
                    yield event

    def cut_events(self, stage: int, step: int) -> None:
        """Forget what lies after a checkpoint, so that a resumed run draws one curve."""
        kept = [
            event
            for event in self.read_events()
            if (event.get("stage", 0), event.get("step", 0)) <= (stage, step)
        ]
        atomic_write_text(self.events, "".join(json.dumps(event) + "\n" for event in kept))

    def _write(self, path: Path, text: str) -> None:
        atomic_write_text(path, text, None if self._patient else 0.0)

    def _parsed(self, path: Path, kind: type[_File]) -> _File:
        try:
            text = self._text(path, "a job's file")
        except FileNotFoundError:
            return kind()
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                path, f"no JSON ({error})", "a job's file", "Delete this file and resume."
            ) from None
        return parse(kind, data, str(path))

    def _text(self, path: Path, expected: str) -> str:
        """Raises FileNotFoundError, and UserError where the file cannot be read."""
        try:
            return files.read_text(path, patience_s=None if self._patient else 0.0)
        except FileNotFoundError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, PermissionError) and not self._patient:
                raise
            raise UserError(
                path, f"unreadable ({error})", expected, "Check the file, or start a new job."
            ) from None
