"""What a worker tells as it goes: each event and phase, to its job folder and to its caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ...common.processes import stay_awake
from ..checks.device import used_memory
from ..jobs.job import JobFolder, State
from ..jobs.phase import Phase
from ..stage.loop import StageTraining
from ..stage.steps import Step

OnEvent = Callable[[dict[str, Any]], None]
_PACE = 20  # steps that the reported seconds per step are the mean of


class Reporter:
    """One life of a worker, told in the folder's events and state. Steps come before all else.

    muted: nothing is written, as in every process of a team but its first.
    """

    def __init__(self, folder: JobFolder, on_event: OnEvent):
        self.folder, self.on_event = folder, on_event
        self.device, self.muted = torch.device("cpu"), False
        self.recent: deque[float] = deque(maxlen=_PACE)

    def enter(self, phase: Phase, training: StageTraining | None) -> None:
        """A phase begins. run: None before there is a network: stage and step stay as they are."""
        stay_awake(phase in ("loading", "running"))  # a night's training is no reason to sleep
        if training is not None:
            self.steps(training)
        if self.muted:
            return
        if training is None:
            state = replace(self.folder.read_state(), phase=phase, message="")
        else:
            state = State(phase, training.stage_index, training.step, training.stage.steps)
        self.folder.write_state(state)
        place = {"stage": state.stage, "step": state.step}
        self.on_event(self.folder.report("phase", **place, phase=phase))

    def tell(self, event: str, training: StageTraining, **values: Any) -> None:
        """Something happened at the step that the run has reached."""
        self.steps(training)
        if not self.muted:
            place = {"stage": training.stage_index, "step": training.step}
            self.on_event(self.folder.report(event, **place, **values))

    def steps(self, training: StageTraining, behind: int = 0) -> None:
        """What the steps did, up to that of ``behind`` steps ago."""
        for step in training.read(behind):
            self.recent.append(step.seconds)
            if not self.muted:
                self._step(training, step)

    def _step(self, training: StageTraining, step: Step) -> None:
        pace = sum(self.recent) / len(self.recent)
        event = self.folder.report(
            "skipped" if step.skipped else "step",
            stage=training.stage_index,
            step=step.step,
            steps=training.stage.steps,
            loss=step.loss,
            loss_average=step.loss_average,
            grad_norm=step.grad_norm,
            lr=training.stage.lr,
            seconds_per_step=round(pace, 4),
            eta_s=round(pace * (training.stage.steps - step.step), 1),
            memory_bytes=used_memory(self.device),
            tier=step.tier,
        )
        self.on_event(event)
