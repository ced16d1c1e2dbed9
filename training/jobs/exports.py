"""How a job's exports are called: what the worker writes, and what is copied to where it is found.

A stage writes one file that is named after the job and the stage, the last stage's after the job
alone. What it trains decides whether that is an adapter, weights in full or words; words beside a
LoRA get a file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...common.errors import UserError
from ...common.names import check_file_name, check_name, folded
from ..recipes.recipe import Recipe, Stage
from ..recipes.sites import APPEARANCE
from .job import Job

_ENDING = ".safetensors"
_WORDS = " words"  # before the ending, of the file with words beside the LoRA of the same stage


@dataclass(frozen=True)
class StageExports:
    """What one stage writes, by file name; "" for what it does not train."""

    weights: str  # an adapter, a LoRA for images, or weights in full
    words: str  # an embedding

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.weights, self.words) if name)


def exports_of(job: Job) -> tuple[StageExports, ...]:
    """What each stage of a job writes into its folder of exports."""
    stages = job.recipe.stages
    stems = [*(f"{job.name} {stage.name}" for stage in stages[:-1]), job.name]
    return tuple(_stage_exports(*pair) for pair in zip(stages, stems, strict=True))


def check_new(job: Job) -> Job:
    """A job that is about to be made, whose files can be made on every system; returns it.

    Raises UserError for names that some system does not take, or takes for one. Jobs that are
    there already may have such names.
    """
    check_name(job.name)
    for stage in job.recipe.stages:
        check_name(stage.name, "stage name")
    seen: dict[str, str] = {}
    for name in (name for names in exports_of(job) for name in names.names):
        check_file_name(name, "name")
        if other := seen.get(folded(name)):
            raise UserError(
                "stages", f"the files {other!r} and {name!r}", "names that differ in letters",
                "Rename a stage: many disks take small and capital letters for the same.",
            )  # fmt: skip  # file, found, expected, next move
        seen[folded(name)] = name
    return job


def _stage_exports(stage: Stage, stem: str) -> StageExports:
    if stage.site.result == "embedding":
        return StageExports("", f"{stem}{_ENDING}")
    words = f"{stem}{_WORDS}{_ENDING}" if stage.site.words else ""
    return StageExports(f"{stem}{_ENDING}", words)


def embeddings_of(job: Job) -> tuple[str, ...]:
    """The files with trained words among a job's exports."""
    return tuple(names.words for names in exports_of(job) if names.words)


def adapter_of(job: Job) -> str:
    """The file that a job is for: of its last stage, words where that trains nothing else."""
    return exports_of(job)[-1].names[0]


def earlier(recipe: Recipe, index: int, name: str) -> int | None:
    """The stage before this one whose result has a name, or None when a file is meant."""
    return next((i for i in range(index) if recipe.stages[i].name == name), None)


def absorber_files(job: Job, index: int, exports: Path) -> dict[str, Path]:
    """The files that a stage holds fixed in the image model: "LoRA", "words", each if any."""
    if APPEARANCE not in job.recipe.stages[index].use:
        return {}
    absorber = earlier(job.recipe, index, APPEARANCE)
    if absorber is None:
        return {"LoRA": Path(job.adapters[APPEARANCE])}
    names = exports_of(job)[absorber]
    files = {"LoRA": names.weights, "words": names.words}
    return {kind: exports / name for kind, name in files.items() if name}
