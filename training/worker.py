"""The worker: runs one job folder to its end, obeys its commands and reports as it goes.

It speaks through the folder alone, so it outlives the program that started it; whatever ends it,
the folder can be run again and goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import errno
import hashlib
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..adapters.checkpoint import UNetWeights, fingerprint, read_unet
from ..adapters.errors import UserError
from ..adapters.file import Adapter, AdapterInfo, load_adapter, save_adapter
from ..adapters.motion_module.checkpoint import MotionModule, read_motion_module
from ..adapters.tensors import file_hash, write_tensors
from . import system
from .cache.store import load_set
from .job import Control, Job, JobFolder, State
from .loop import StageRun, Step
from .memory import used_memory
from .model import build_unet, text_width
from .sites import load_motion_adapter
from .state import load_checkpoint, save_checkpoint

FINISHED, CRASHED, USER_ERROR, STOPPED = 0, 1, 2, 0
_POLL_S = 0.1


OnEvent = Callable[[dict[str, Any]], None]


def run_job(folder: JobFolder, on_event: OnEvent = lambda event: None) -> int:
    """Run or resume a job; returns an exit code. Raises UserError if another worker runs it.

    on_event: called with each event that is also written to the folder. What goes wrong inside
    the run is recorded there: as the state's message, and with its traceback in log.txt.
    """
    folder.load()
    with system.exclusive(folder.lock) as held:
        if not held:
            raise UserError(
                folder.path, "a worker already at this job", "none", "Wait for it, or stop it."
            )
        try:
            return Session(folder, on_event).run()
        except UserError as error:
            _record_failure(folder, str(error))
            return USER_ERROR
        except Exception as error:
            mendable = lack_of_room(folder, error)
            if mendable is not None:
                _record_failure(folder, str(mendable))
                return USER_ERROR
            with folder.log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
            text = f"{type(error).__name__}: {error}"
            _record_failure(folder, f"{text[:300]} (see {folder.log.name}; resume when mended)")
            return CRASHED


def lack_of_room(folder: JobFolder, error: Exception) -> UserError | None:
    """A full disk, or memory that no tier could save, in words; None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            folder.path,
            "a full disk",
            "room for checkpoints",
            "Free some space and resume: the job goes on from its last checkpoint.",
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return UserError(
            "memory",
            "too little to load the network",
            "room for the checkpoint and the motion module",
            "Close other programs, or train in float16 on the card or on the CPU, and resume.",
        )
    return None


def _record_failure(folder: JobFolder, message: str) -> None:
    state = folder.read_state()
    folder.write_state(State("failed", state.stage, state.step, state.steps, message))
    folder.report("failed", stage=state.stage, step=state.step, message=message)


class Session:
    """One life of a worker."""

    def __init__(self, folder: JobFolder, on_event: OnEvent):
        self.folder, self.on_event = folder, on_event
        self.job = folder.load()
        self.saves_done = folder.read_control().save
        self.adapters: dict[str, Adapter] = {}
        self.recent: deque[float] = deque(maxlen=20)

    def run(self) -> int:
        self.folder.write_state(replace(self.folder.read_state(), phase="loading", message=""))
        job = self.job
        self.device = pick_device(job.device)
        self.weights = read_unet(Path(job.checkpoint))
        self.motion = read_motion_module(Path(job.motion_module))
        self.sets = {name: load_set(Path(path)) for name, path in job.sets.items()}
        self._check_files()
        checkpoint = load_checkpoint(self.folder.checkpoints)
        # Before the first step nothing is worth keeping: a new life reports it again.
        first, step = 0, -1
        if checkpoint is not None:
            self._check_unchanged(checkpoint.meta["files"])
            first, step = checkpoint.meta["stage"], checkpoint.meta["step"]
        self.folder.cut_events(first, step)
        for index in range(first, len(job.recipe.stages)):
            stage = self._stage(index)
            start = checkpoint if index == first else None
            if start is not None:
                stage.restore(start)
            if not self._train(stage, resumed=start is not None):
                return STOPPED
        self._enter("finished", stage)
        return FINISHED

    def _stage(self, index: int) -> StageRun:
        job, recipe = self.job, self.job.recipe
        torch.manual_seed(recipe.seed)  # nothing should draw from it; a slip should repeat
        dtype = pick_dtype(recipe.dtype, self.device)
        unet = build_unet(self.weights, self.motion, dtype, self.device)
        for name in recipe.stages[index].use:
            load_motion_adapter(unet, self.adapters[name], job.adapters[name])
        return StageRun(recipe, index, unet, self.weights.layout, self.sets)

    def _train(self, run: StageRun, resumed: bool) -> bool:
        """Train one stage; False when the artist stopped it."""
        self._enter("running", run)
        if not resumed:
            self._held_out(run)
        while not run.done:
            if not self._obey(run):
                self._save(run)
                self._export(run)
                self._enter("stopped", run)
                return False
            step = run.advance()
            self._report(run, step)
            if run.step % self.job.recipe.held_out_every == 0 or run.done:
                self._held_out(run)
            if run.step % self.job.recipe.save_every == 0 or run.done:
                self._save(run)
        self._export(run)
        return True

    def _obey(self, run: StageRun) -> bool:
        """Carry out what the folder's control file wants; False means stop."""
        control = self._save_on_request(run)
        if control.wanted == "pause":
            self._save(run)
            self._enter("paused", run)
            while (control := self._save_on_request(run)).wanted == "pause":
                time.sleep(_POLL_S)
            self._enter("running", run)
            self.recent.clear()
        return control.wanted != "stop"

    def _save_on_request(self, run: StageRun) -> Control:
        """What is wanted now; a "save now" that came in is done."""
        control = self.folder.read_control()
        if control.save > self.saves_done:
            self.saves_done = control.save
            self._save(run)
            self._export(run)
        return control

    def _tell(self, event: str, run: StageRun, **values: Any) -> None:
        self.on_event(self.folder.report(event, stage=run.stage_index, step=run.step, **values))

    def _enter(self, phase, run: StageRun) -> None:
        self.folder.write_state(State(phase, run.stage_index, run.step, run.stage.steps))
        self._tell("phase", run, phase=phase)

    def _report(self, run: StageRun, step: Step) -> None:
        self.recent.append(step.seconds)
        pace = sum(self.recent) / len(self.recent)
        self._tell(
            "skipped" if step.skipped else "step",
            run,
            steps=run.stage.steps,
            loss=step.loss,
            loss_average=step.loss_average,
            grad_norm=step.grad_norm,
            lr=run.stage.lr,
            seconds_per_step=round(pace, 4),
            eta_s=round(pace * (run.stage.steps - step.step), 1),
            memory_bytes=used_memory(self.device),
            tier=step.tier,
        )

    def _held_out(self, run: StageRun) -> None:
        if self.job.recipe.held_out:
            loss = run.held_out_loss()
            self._tell("held_out", run, loss=loss)

    def _save(self, run: StageRun) -> None:
        save_checkpoint(self.folder.checkpoints, run.checkpoint(files=self._fingerprints()))
        phase = self.folder.read_state().phase
        self.folder.write_state(State(phase, run.stage_index, run.step, run.stage.steps))
        self._tell("saved", run)

    def _export(self, run: StageRun) -> None:
        last = run.stage_index == len(self.job.recipe.stages) - 1
        name = self.job.name if last else f"{self.job.name} {run.stage.name}"
        self.folder.exports.mkdir(exist_ok=True)
        path = self.folder.exports / f"{name}.safetensors"
        export(path, run, self.job, self.weights, self.motion)
        self._tell("exported", run, file=path.name)

    def _check_files(self) -> None:
        """Everything that the recipe names is there and fits. Reads the adapters in use."""
        recipe, most = self.job.recipe, self.motion.info.max_frames
        if recipe.frames > most:
            raise UserError(
                self.job.motion_module, f"room for {most} frames", f"{recipe.frames} frames",
                f"Train on {most} frames or fewer, or choose another motion module.",
            )  # fmt: skip
        width = text_width(self.weights)
        for name in (source.set for stage in recipe.stages for source in stage.sources):
            if name not in self.sets:
                raise UserError(
                    "job.json", f"no folder for the set {name!r}", "a cached set",
                    "Cache a folder of pictures or clips and name it in the job.",
                )  # fmt: skip
            found = self.sets[name].items[0].text.shape[-1]
            if found != width:
                raise UserError(
                    self.job.sets[name], f"text {found} wide", f"{width}, as the checkpoint reads",
                    "Cache the folder again with this checkpoint.",
                )  # fmt: skip
        for name in (name for stage in recipe.stages for name in stage.use):
            if name not in self.job.adapters:
                raise UserError(
                    "job.json", f"no file for adapter {name!r}", "one", "Name a trained adapter."
                )
            self.adapters[name] = load_adapter(Path(self.job.adapters[name]), kind="motion")

    def _fingerprints(self) -> dict[str, str]:
        """What a resumed run must find unchanged to be the same run."""
        found = {"checkpoint": self.weights.hash, "motion module": self.motion.hash}
        for name, made in self.sets.items():
            ids = "".join(item.id for item in made.items)
            found[f"set {name}"] = hashlib.sha256(ids.encode()).hexdigest()
        for name in self.adapters:
            found[f"adapter {name}"] = file_hash(Path(self.job.adapters[name]))
        return found

    def _check_unchanged(self, saved: dict[str, str]) -> None:
        now = self._fingerprints()
        changed = sorted(name for name in saved if saved[name] != now.get(name))
        if changed:
            raise UserError(
                self.folder.path,
                f"other contents than when the job began: {', '.join(changed)}",
                "the same files",
                "Put them back, or start a new job.",
            )


def export(path: Path, run: StageRun, job: Job, weights: UNetWeights, motion: MotionModule) -> None:
    """Write what a stage has learned as a file that artists use.

    An adapter file; for "spatial.all", a checkpoint file with the UNet's weights.
    """
    values = {n: t.cpu() for n, t in run.values().items()}
    if run.stage.train == "spatial.all":
        named = {
            f"model.diffusion_model.{run.trainable.layout.to_ldm(n)}": t for n, t in values.items()
        }
        write_tensors(path, named, {"recipe": job.recipe.to_json(), "steps": str(run.step)})
        return
    temporal = run.stage.train == "temporal.qkv"
    info = AdapterInfo(
        kind="motion" if temporal else "spatial",
        rank=run.stage.rank,
        sites=run.stage.train if temporal else run.stage.train.removeprefix("spatial."),
        base=weights.base,
        motion_module=motion.hash,
        motion_module_name=Path(job.motion_module).name,
        checkpoint=weights.hash,
        checkpoint_name=Path(job.checkpoint).name,
        fingerprint=fingerprint(weights.tensors),
        steps=run.step,
        recipe=job.recipe.to_json(),
        recommended_scale=0.0 if temporal else 1.0,
    )
    save_adapter(path, Adapter(info, run.trainable.low_rank(values)))


def pick_device(wanted: str) -> torch.device:
    """The device of a job. Raises UserError for a card that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device", "no CUDA card", "one", "Choose auto or cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Number format of the frozen weights: bf16 (fp16 on older cards) on CUDA, fp32 on the CPU."""
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            wanted
        ]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
