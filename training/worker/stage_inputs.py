"""What a stage starts from: the image model with absorbers in it, its prompts, its words.

An absorber that is held fixed is part of the image model: its LoRA is merged into the weights, and
its words are read into the captions, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.embedding import load_embedding
from ...adapters.files.image_lora import merge_image_lora
from ..jobs.job import Job
from ..recipes.recipe import Recipe, Stage
from ..recipes.sites import APPEARANCE
from ..sets.store import TrainingSet
from ..text.learned_words import LearnedWords, TextModel
from ..text.prompts import prompted

WORDS_ENDING = " words"  # of the file with trained words beside the LoRA of the same stage


@dataclass(frozen=True)
class StageInputs:
    """weights: of the image model, absorbers in them; words: those that the stage trains."""

    weights: UNetWeights
    sets: dict[str, TrainingSet]
    words: LearnedWords | None


def export_path(job: Job, index: int, exports: Path) -> Path:
    """Where a stage's result is written: the last one's has the job's name."""
    last = index == len(job.recipe.stages) - 1
    name = job.name if last else f"{job.name} {job.recipe.stages[index].name}"
    return exports / f"{name}.safetensors"


def words_path(stage: Stage, path: Path) -> Path:
    """Where a stage's trained words are, its result being at ``path``."""
    return path if stage.site.result == "embedding" else path.with_stem(path.stem + WORDS_ENDING)


def earlier(recipe: Recipe, index: int, name: str) -> int | None:
    """The stage before this one whose result has a name, or None when a file is meant."""
    return next((i for i in range(index) if recipe.stages[i].name == name), None)


def absorber_files(job: Job, index: int, exports: Path) -> dict[str, Path]:
    """The files that a stage holds fixed in the image model: "LoRA", "words", each if any."""
    if APPEARANCE not in job.recipe.stages[index].use:
        return {}
    made_by = earlier(job.recipe, index, APPEARANCE)
    if made_by is None:
        return {"LoRA": Path(job.adapters[APPEARANCE])}
    stage, path = job.recipe.stages[made_by], export_path(job, made_by, exports)
    files = {"LoRA": path} if stage.site.lora is not None else {}
    return files | ({"words": words_path(stage, path)} if stage.site.words else {})


def stage_inputs(
    job: Job,
    index: int,
    weights: UNetWeights,
    sets: Mapping[str, TrainingSet],
    exports: Path,
    model: TextModel | None,
) -> StageInputs:
    """Read and put together what a stage starts from. Raises UserError for what does not fit.

    model: of ``prompts.text_model``.
    """
    stage, held = job.recipe.stages[index], absorber_files(job, index, exports)
    if isinstance(model, nn.Module):
        model.to("cpu")  # an earlier stage may have had it on the device
    if "LoRA" in held:
        weights = merge_image_lora(weights, held["LoRA"])
    fixed = None
    if "words" in held:
        assert model is not None
        found = load_embedding(held["words"])
        fixed = LearnedWords(model, found.words, found.rows)
    used = {
        source.set: prompted(sets[source.set], source.prompt, model, fixed)
        for source in stage.sources
    }
    words = None
    if stage.words:
        assert model is not None
        words = LearnedWords(model, stage.words)
    return StageInputs(weights, used, words)
