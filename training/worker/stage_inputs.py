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
from ..jobs.exports import absorber_files
from ..jobs.job import Job
from ..sets.store import LoadedSet
from ..text.learned_words import LearnedWords, TextModel
from ..text.prompts import prompted


@dataclass(frozen=True)
class StageInputs:
    """weights: of the image model, absorbers in them; words: those that the stage trains."""

    weights: UNetWeights
    sets: dict[str, LoadedSet]
    words: LearnedWords | None


def stage_inputs(
    job: Job,
    index: int,
    weights: UNetWeights,
    sets: Mapping[str, LoadedSet],
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
        embedding = load_embedding(held["words"])
        fixed = LearnedWords(model, embedding.words, embedding.rows)
    used = {
        source.set: prompted(sets[source.set], source.prompt, model, fixed)
        for source in stage.sources
    }
    words = None
    if stage.words:
        assert model is not None
        words = LearnedWords(model, stage.words)
    return StageInputs(weights, used, words)
