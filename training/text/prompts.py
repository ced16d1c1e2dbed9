"""Which texts a job reads, and sets whose items have been given them.

Both processes ask: the node before a job is written, the worker when it begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...common.errors import UserError
from ...worlds.known import WORLDS
from ..jobs.job import Job
from ..recipes.recipe import Recipe
from ..recipes.sites import APPEARANCE
from ..sets.store import Item, LoadedSet
from .learned_words import LearnedWords, TextModel, open_text_model

_SAME = 0.05  # relative difference of two CLIPs that are one, in other number formats
_MARKS = re.compile(r"embedding:\S*|\([^()]*\)")  # to ComfyUI a learned word, a weighted one


def reads_texts(recipe: Recipe) -> bool:
    """Whether there is more to read than cached captions: trained words, or prompts."""
    return any(
        stage.words or any(source.prompt for source in stage.sources) for stage in recipe.stages
    )


def text_model(job: Job, base: str, sets: Mapping[str, LoadedSet]) -> TextModel | None:
    """The job's text encoder, or None where the cached captions are all that is read.

    Reads every prompt and looks for the words in every caption once, so that nothing is found
    wrong after a stage was trained. Raises UserError for what is, and for a text encoder that is
    not the one that the sets were cached with. Of the job it takes the recipe and the text
    encoder's files, so the node can ask before the rest is written.
    """
    if not reads_texts(job.recipe):
        return None
    model = _open(job, base, sets)
    words: LearnedWords | None = None
    for stage in job.recipe.stages:
        if stage.words:
            words = LearnedWords(model, stage.words)
        for source in stage.sources:
            reads = words if stage.words or APPEARANCE in stage.use else None
            prompted(sets[source.set], source.prompt, model, reads)
    return model


def _open(job: Job, base: str, sets: Mapping[str, LoadedSet]) -> TextModel:
    file = Path(job.text_encoder or job.checkpoint)
    model = open_text_model(base, file, Path(job.tokenizer) if job.tokenizer else None)
    if base not in WORLDS and not job.tokenizer:
        raise UserError(
            "tokenizer", "none", "the folder of CLIP's words, as ComfyUI has it",
            "Name a ComfyUI folder, or cache the clips with their prompts and train no words.",
        )  # fmt: skip  # subject, found, expected, next move
    for cached in sets.values():
        check_same(model, cached.items)
    return model


def check_same(model: TextModel, items: Sequence[Item]) -> None:
    """Raise UserError unless the model reads a cached caption as the cache's encoder did.

    It is the first caption that means the same to both, if there is one.
    """
    item = next((item for item in items if not _MARKS.search(item.caption)), None)
    if item is None:
        return
    with torch.no_grad():
        ours = model.encode(model.pieces(item.caption), {}).cpu()
    ours = ours[: len(item.text)]  # older sets have the first 77 tokens of a caption
    if ours.shape != item.text.shape or (ours - item.text).norm() > _SAME * item.text.norm():
        raise UserError(
            item.source,
            f"a caption {item.caption[:60]!r} that another text encoder has read",
            "the CLIP that this job reads words with",
            "Cache the clips with that CLIP; in ComfyUI, connect one CLIP to both nodes.",
        )


def _refuse_marks(caption: str) -> None:
    """ComfyUI reads (word) as 1.1 times word; here it would be letters."""
    mark = _MARKS.search(caption)
    if mark is not None:
        raise UserError(
            f"prompt {caption[:60]!r}", f"{mark.group()!r}, which only ComfyUI's CLIP reads",
            "words alone",
            "Leave it out; or write it into Clip Set, give no prompt here, and train no words.",
        )  # fmt: skip  # subject, found, expected, next move


def prompted(
    cached: LoadedSet, prompt: str, model: TextModel | None, words: LearnedWords | None
) -> LoadedSet:
    """A set whose items have a prompt in place of their captions, read with trained words.

    Raises UserError for what means something to ComfyUI alone, and would be read as letters here.
    """
    if not prompt and words is None:
        return cached
    items = []
    for item in cached.items:
        caption = prompt or item.caption
        _refuse_marks(caption)
        with torch.no_grad():
            if words is not None:
                text = words.text(caption)
            else:
                assert model is not None
                text = model.encode(model.pieces(caption), {})
        items.append(replace(item, caption=caption, text=text.detach().cpu()))
    return replace(cached, items=tuple(items))
