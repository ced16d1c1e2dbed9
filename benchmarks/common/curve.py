"""What a training has learned after each of several lengths, each gone on from the one before.

A run that was saved and taken up again is the run that was not, so a curve costs no more than its
last point. Whatever is there already is not done again, also when a process was killed in it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...training.jobs.job import Job, JobFolder
from ...training.recipes.recipe import Recipe
from ...training.worker.session import run_job


class Point(NamedTuple):
    """A length of training: the file that came of it, and the held-out loss there."""

    steps: int
    result: Path
    held_out: float | None  # None where the recipe measures none


def curve(folder: Path, job: Job, lengths: Sequence[int]) -> Iterator[Point]:
    """Train a job to each of ``lengths`` (steps of its last stage), a job folder each.

    Raises UserError if one does not finish.
    """
    before: JobFolder | None = None
    for steps in sorted(lengths):
        here = JobFolder(folder / str(steps))
        result = here.exports / f"{job.name}.safetensors"
        if not result.exists():
            _train(here, dataclasses.replace(job, recipe=of_length(job.recipe, steps)), before)
        if before is not None:  # its states of AdamW are of no use any more
            files.remove_tree(before.checkpoints)
        before = here
        yield Point(steps, result, held_out_loss(here, steps))


def of_length(recipe: Recipe, steps: int) -> Recipe:
    """A recipe whose last stage has so many steps."""
    *first, last = recipe.stages
    return dataclasses.replace(recipe, stages=(*first, dataclasses.replace(last, steps=steps)))


def held_out_loss(folder: JobFolder, steps: int) -> float | None:
    """What the last stage's held-out loss was after so many steps, if it was measured there."""
    stage = len(folder.load().recipe.stages) - 1
    losses = [
        event["loss"]
        for event in folder.read_events()
        if event["event"] == "held_out" and (event["stage"], event["step"]) == (stage, steps)
    ]
    return losses[-1] if losses else None


def _train(here: JobFolder, job: Job, before: JobFolder | None) -> None:
    if not here.spec.exists():
        _begin(here, job, before)
    run_job(here)
    state = here.read_state()
    if state.phase != "finished":
        raise UserError(here.path, state.phase, "a finished job", state.message)


def _begin(here: JobFolder, job: Job, before: JobFolder | None) -> None:
    """A job's folder, whole or not there: as a shorter run of the job was before its end."""
    part = here.path.with_suffix(".part")
    files.remove_tree(part)
    if before is None:
        files.make_folder(part)
    else:
        shutil.copytree(before.path, part)
        for shorter in (before.state, before.exports / f"{job.name}.safetensors"):
            files.remove(part / shorter.relative_to(before.path))
    atomic_write_text(part / "job.json", job.to_json())
    files.replace(part, here.path)
