"""The worker: runs one job folder to its end, obeys its commands and reports as it goes.

It speaks through the folder alone, so it outlives the program that started it; whatever ends it,
the folder can be run again and goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from functools import partial

import torch

from ...common import files
from ..checks.device import give_back, pick_device
from ..jobs.job import Job, JobFolder, State
from ..jobs.wish import GOING, Wish, wish_of
from ..network.compiling import AHEAD
from ..network.lora import load_motion_adapter
from ..network.unet import build_unet
from ..recipes.sites import MOTION
from ..stage.checkpoints import Checkpoint, load_checkpoint, number_format, save_checkpoint
from ..stage.loop import StageTraining
from ..stage.team import Team
from . import preview
from .failure import FINISHED, STOPPED, recorded
from .inputs import Inputs
from .reporter import OnEvent, Reporter
from .results import export
from .stage_inputs import stage_inputs

_POLL_S = 0.1


def run_job(
    folder: JobFolder,
    on_event: OnEvent = lambda event: None,
    *,
    patience_s: float = math.inf,
) -> int:
    """Run or resume a job; returns an exit code. Raises UserError if another worker runs it.

    on_event: called with each event that is also written to the folder. What goes wrong inside
    the run is recorded there: as the state's message, and with its traceback in log.txt. Under
    ``accelerate launch`` or ``torchrun`` each process calls this, and the first one does so.
    patience_s: a job that is paused or gives way for longer is saved and left "waiting"; whoever
    runs it again goes on with it.
    """
    job = folder.load()
    with folder.owned():
        return run_owned(folder, job, on_event, patience_s=patience_s)


def run_owned(
    folder: JobFolder,
    job: Job,
    on_event: OnEvent = lambda event: None,
    *,
    patience_s: float = math.inf,
) -> int:
    """``run_job`` for a process that owns the job already."""
    session: Session | None = None

    def run() -> int:
        nonlocal session
        session = Session(folder, job, on_event, patience_s)
        return session.run()

    return recorded(folder, run, lambda: session.doing if session else "beginning")


class Session:
    """One life of a worker."""

    def __init__(self, folder: JobFolder, job: Job, on_event: OnEvent, patience_s: float):
        self.folder, self.job, self.patience_s = folder, job, patience_s
        control = folder.read_control()
        self.saves_done, self.samples_done = control.save, control.sample
        self.sample_due = False
        self.stage_index = 0
        self.doing = "reading the job's files"  # for who has to say what went wrong in it
        self.report = Reporter(folder, on_event)
        self.team = Team()

    def run(self) -> int:
        """To the job's end, or to the wish that ends this life; returns an exit code."""
        self._join()
        checkpoint = self._read()
        if self._obey(None) == "leave":
            self.report.enter("waiting", None)
            code = STOPPED
        else:
            code = self._train_stages(checkpoint)
        self.team.leave()
        return code

    def _join(self) -> None:
        """Take a device, beside the other processes of the team if there are any."""
        device = pick_device(self.job.device)
        self.team = Team.join(device)
        self.device = self.team.own_card(device)
        self.report.device, self.report.muted = self.device, not self.team.first

    def _read(self) -> Checkpoint | None:
        """The job's files and its last checkpoint. Raises UserError where they do not fit."""
        self.inputs = Inputs.read(self.job)
        checkpoint = load_checkpoint(self.folder.checkpoints)
        # Before the first step nothing is worth keeping: a new life reports it again.
        step = -1
        if checkpoint is not None:
            self.stage_index, step = checkpoint.meta["stage"], checkpoint.meta["step"]
            files = checkpoint.meta["files"]
            self.inputs.check_unchanged(files, self.stage_index, self.folder)
        if self.team.first:
            self.folder.cut_events(self.stage_index, step)
        return checkpoint

    def _train_stages(self, checkpoint: Checkpoint | None) -> int:
        """Train what is left, from a checkpoint of ``stage_index`` on; returns an exit code."""
        first, count = self.stage_index, len(self.job.recipe.stages)
        for index in range(first, count):
            resumed = checkpoint is not None and index == first
            training = self._new_training(index, checkpoint if resumed else None)
            if checkpoint is not None and resumed:
                self.doing = "taking up the checkpoint"
                training.restore(checkpoint)
            if not self._train(training, resumed):
                return STOPPED
            if index == count - 1:
                self.report.enter("finished", training)
            del training
            give_back(self.device)
        return FINISHED

    def _new_training(self, index: int, checkpoint: Checkpoint | None) -> StageTraining:
        job, recipe, inputs = self.job, self.job.recipe, self.inputs
        self.stage_index, self.doing = index, "loading the network"
        torch.manual_seed(recipe.seed)  # nothing should draw from it; a slip should repeat
        dtype = number_format(checkpoint, recipe.dtype, self.device)
        exports = self.folder.exports
        own = stage_inputs(job, index, inputs.weights, inputs.sets, exports, inputs.text)
        unet = build_unet(own.weights, inputs.motion, dtype, self.device)
        if MOTION in recipe.stages[index].use:
            load_motion_adapter(unet, inputs.adapters[MOTION], job.adapters[MOTION])
        layout = inputs.weights.layout
        return StageTraining(recipe, index, unet, layout, own.sets, own.words, self.team)

    def _train(self, training: StageTraining, resumed: bool) -> bool:
        """Train one stage; False when the worker shall end before it is done."""
        self.report.enter("running", training)
        if not resumed:
            self._held_out(training)
        while not training.done:
            wish = self._obey(training)
            if wish != "run":
                self._end(training, wish)
                return False
            self.doing = f"taking step {training.step + 1}"
            training.launch()
            self.report.steps(training, AHEAD.get(self.device.type, 0))
            every = self.job.sample_every
            self.sample_due |= every > 0 and training.step % every == 0
            if training.step % self.job.recipe.held_out_every == 0 or training.done:
                self._held_out(training)
            if training.step % self.job.recipe.save_every == 0 or training.done:
                self._save(training)
        self._sample_if_due(training)
        self._export(training)
        self.team.agree(None)  # the others wait: a next stage may begin with these files
        return True

    def _end(self, training: StageTraining, wish: Wish) -> None:
        """Save, and stop for good or leave the job to be taken up again."""
        self._save(training)
        if wish == "stop":
            self._export(training)
        # Writing files takes a while, in which a stop may be taken back: then the job waits.
        stopped = wish == "stop" and self.folder.read_control().wanted == "stop"
        self.report.enter("stopped" if stopped else "waiting", training)

    def _obey(self, training: StageTraining | None) -> Wish:
        """Wait while the folder wants that; then whether to "run", "stop" or "leave".

        training: None before the network is built, so that a start does not fall on a busy device.
        """
        wish, waiting, since = self._look(training), None, time.monotonic()
        while wish not in GOING:
            if wish != waiting:
                self._wait_as(wish, training)
                waiting = wish
            if wish != "keep" and self.team.agree(time.monotonic() - since > self.patience_s):
                return "leave"
            time.sleep(_POLL_S)
            wish = self._look(training)
        if waiting is not None and wish == "run":
            self.report.enter("loading" if training is None else "running", training)
            self.report.recent.clear()  # its pace is not that of before
        return wish

    def _look(self, training: StageTraining | None) -> Wish:
        """The wish of this moment, the same in every process of a team."""
        wish = self.team.agree(self._wish(training) if self.team.first else "run")
        if wish != "run" or training is None or not training.parked:
            return wish
        if self.team.all(training.unpark()):
            return "run"
        training.park()
        return "yield"  # others still hold the memory: look again

    def _wait_as(self, wish: Wish, training: StageTraining | None) -> None:
        """Begin to wait: in place ("keep"), or in CPU memory, and saved when the artist asks."""
        if training is not None and wish != "keep":
            training.park()
        if training is not None and wish == "pause":
            self._save(training)
        self.report.enter("paused" if wish == "pause" else "yielding", training)

    def _wish(self, training: StageTraining | None) -> Wish:
        """What is wanted now; saves and samples that were asked for are made first."""
        control = self.folder.read_control()
        if training is not None and control.save > self.saves_done:
            self.saves_done = control.save
            self._save(training)
            self._export(training)
        if control.sample > self.samples_done:
            self.samples_done, self.sample_due = control.sample, True
        if training is not None and self.sample_due and control.wanted != "stop":
            self._sample_if_due(training)
            control = self.folder.read_control()  # it took a while
        return wish_of(control, self.folder.read_sharing())

    def _sample_if_due(self, training: StageTraining) -> None:
        """Make the clip that is due. One that fails is told and forgotten; training goes on."""
        if not (self.sample_due and self.team.first) or self.folder.read_sharing() != "run":
            return
        parked, self.sample_due = training.parked, False
        try:
            reason = preview.failure(training, partial(self._sample, training))
        except preview.Postponed:
            self.sample_due, reason = True, ""
        if reason:
            self.report.tell("sample_failed", training, reason=reason)
        if parked:
            training.park()

    def _sample(self, training: StageTraining) -> None:
        before = sum(stage.steps for stage in self.job.recipe.stages[: training.stage_index])
        path = self.folder.samples / f"{before + training.step}.webp"
        base = self.inputs.weights.base
        told = preview.make_sample(
            training, path, base, lambda: self.folder.read_sharing() == "run"
        )
        self.report.tell("sample", training, **told)

    def _held_out(self, training: StageTraining) -> None:
        self.doing = f"measuring after step {training.step}"
        if self.job.recipe.held_out and self.team.first:
            loss = training.held_out_loss()
            self.report.tell("held_out", training, loss=loss)

    def _save(self, training: StageTraining) -> None:
        self.doing = f"saving after step {training.step}"
        self.report.steps(training)
        if not self.team.first:
            return
        files = self.inputs.fingerprints(self.stage_index, self.folder.exports)
        save_checkpoint(self.folder.checkpoints, training.checkpoint(files=files))
        state = self.folder.read_state()
        place = training.stage_index, training.step, training.stage.steps
        self.folder.write_state(State(state.phase, *place))
        self.report.tell("saved", training)

    def _export(self, training: StageTraining) -> None:
        self.doing = f"writing the result after step {training.step}"
        if not self.team.first:
            return
        files.make_folder(self.folder.exports)
        files.sweep(self.folder.exports)
        exports, inputs = self.folder.exports, self.inputs
        for name in export(exports, training, self.job, inputs.weights, inputs.motion):
            self.report.tell("exported", training, file=name)
