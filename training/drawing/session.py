"""Draws a job's planned sets, item by item, and obeys the job's folder as a training does.

An item is a file that is whole or not there, so whatever ends this process costs at most the item
that it was at, and none is drawn twice.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path
from typing import Any

import comfy.model_management
import torch

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...common.processes import stay_awake
from ..checks.device import is_out_of_memory
from ..jobs.job import Job, JobFolder, State
from ..jobs.phase import Phase
from ..jobs.wish import GOING, Wish, wish_of
from ..sets.build import build_set
from ..sets.keeping import as_bytes, save_item
from ..sets.plan import WORDS_FILE, Plan, Words, is_planned, read_plan
from .rebuilt import PlannedEncoder, load_model, load_vae
from .sampling import draw

_POLL_S = 0.1


class Wanted(Exception):
    """Something else than drawing is wanted; what was begun is drawn again later."""


class Session:
    """One life of the process that draws. doing: what it is at, for who says what went wrong."""

    def __init__(self, folder: JobFolder, job: Job, patience_s: float):
        self.folder, self.patience_s = folder, patience_s
        self.places = [Path(place) for place in job.sets.values() if is_planned(Path(place))]
        self.places = list(dict.fromkeys(self.places))
        self.plans = [read_plan(place)[0] for place in self.places]
        self.total = sum(len(plan.prompts) for plan in self.plans)
        self.doing, self._paces = "beginning to draw", [0.0, 0.0]  # items of this life, seconds

    def run(self) -> None:
        """Draw what is missing, or as much as is wanted; the state says which."""
        for place in self.places:
            while is_planned(place):
                if not self._obey():
                    return
                with contextlib.suppress(Wanted):
                    self._draw_set(place)
                self._give_back()
        self.folder.write_state(State("waiting"))  # for the training, in a new process

    @torch.inference_mode()
    def _draw_set(self, place: Path) -> None:
        """Raises Wanted, and UserError for what a person must mend."""
        plan, words = read_plan(place)
        self.doing = "loading the models to draw with"
        files.sweep(Path(plan.pictures))  # what a killed process left half written
        vae = load_vae(plan)
        missing = [i for i in range(len(plan.prompts)) if not plan.file(i).is_file()]
        model = load_model(plan, words) if missing else None
        self._enter("running")
        for index in missing:
            began = time.monotonic()
            self._draw_item(plan, words, index, model, vae)
            self._paces[0] += 1
            self._paces[1] += time.monotonic() - began
            self._tell(plan.file(index).name)
        del model
        self.doing = f"encoding the {plan.nouns} that were drawn"
        atomic_write_text(Path(plan.pictures) / "complete", "")
        encoder = PlannedEncoder(plan, words, vae)
        build_set(plan.pictures, place, encoder, plan.options, lambda *_: self._each_step())
        files.discard(place / WORDS_FILE)

    def _draw_item(self, plan: Plan, words: Words, index: int, model: Any, vae: Any) -> None:
        prompt = plan.prompts[index]
        self.doing = f"drawing {plan.noun} {index + 1} of {len(plan.prompts)} ({prompt[:60]!r})"
        self._each_step()
        at = plan.texts.index(prompt)
        positive, unwanted = (
            [[words.conditioning[i], {"pooled_output": words.pooled[i]}]] for i in (at, -1)
        )
        try:
            pixels = draw(
                model, vae, positive, unwanted, (plan.frames, plan.height, plan.width),
                plan.seed + index, self._each_step, steps=plan.steps, cfg=plan.cfg,
                sampler_name=plan.sampler_name, scheduler=plan.scheduler,
            )  # fmt: skip  # many short values, several a line
        except Wanted:
            raise
        except Exception as error:
            raise self._failed(error, plan) from error
        save_item(as_bytes(pixels), prompt, plan.file(index))

    def _failed(self, error: Exception, plan: Plan) -> UserError:
        """What went wrong with an item, in words that name it."""
        subject = self.doing.removeprefix("drawing ")
        if isinstance(error, UserError):
            found = f"{error.found} ({error.subject})"
            return UserError(subject, found, error.expected, error.next_move)
        if is_out_of_memory(error):
            return UserError(
                "memory", f"too little while {self.doing}", "room for it",
                "Close other programs and resume; or press Train again with smaller pictures or"
                " fewer frames.",
            )  # fmt: skip  # subject, found, expected, next move
        files.append_text(self.folder.log, traceback.format_exc())
        return UserError(
            subject, f"{type(error).__name__}: {error}"[:300], f"a {plan.noun}",
            f"Draw it with KSampler to see why; {self.folder.log.name} has the whole error. Resume"
            " when it is mended.",
        )  # fmt: skip  # subject, found, expected, next move

    # What is wanted

    def _wish(self) -> Wish:
        return wish_of(self.folder.read_control(), self.folder.read_sharing())

    def _each_step(self) -> None:
        """Between the steps of an item: wait in place, or raise Wanted to begin it anew later."""
        wish = self._wish()
        if wish == "keep":
            self._enter("yielding")
            while (wish := self._wish()) == "keep":
                time.sleep(_POLL_S)
            if wish == "run":
                self._enter("running")
        if wish != "run":
            raise Wanted

    def _obey(self) -> bool:
        """Wait as long as the folder wants that; whether to go on, or to end this life."""
        wish, waiting, since = self._wish(), None, time.monotonic()
        while wish not in GOING:
            if wish != waiting:
                self._enter("paused" if wish == "pause" else "yielding")
                waiting = wish
            if wish != "keep" and time.monotonic() - since > self.patience_s:
                wish = "leave"
                break
            time.sleep(_POLL_S)
            wish = self._wish()
        if wish == "run":
            self._enter("loading")
            return True
        self._enter("stopped" if wish == "stop" else "waiting")
        return False

    def _give_back(self) -> None:
        """The models' memory: another process wants it."""
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()

    # What is told

    def _done(self) -> int:
        return sum(plan.drawn() for plan in self.plans)

    def _enter(self, phase: Phase) -> None:
        stay_awake(phase in ("loading", "running"))
        done = self._done()
        self.folder.write_state(State(phase, 0, done, self.total, drawing=True))
        self.folder.report("phase", stage=0, step=done, phase=phase)

    def _tell(self, file: str) -> None:
        """An item is there."""
        done, (count, seconds) = self._done(), self._paces
        self.folder.write_state(State("running", 0, done, self.total, drawing=True))
        eta_s = round((self.total - done) * seconds / count, 1)
        self.folder.report("drawn", stage=0, step=done, steps=self.total, eta_s=eta_s, file=file)
