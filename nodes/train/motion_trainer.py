"""What Customize-A-Video, VMC and NewMove share: one set or two, their words, and a job of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.image_lora import read_image_lora
from ...adapters.files.motion_module import LAYERS, MotionModule
from ...adapters.files.templates import module_shapes
from ...adapters.host import hooks
from ...adapters.host.motion_module import LoadedMotionModule
from ...common.errors import UserError
from ...training.checks.budget import budget
from ...training.checks.captions import check_recipe
from ...training.checks.device import pick_device, pick_dtype
from ...training.jobs.exports import embeddings_of
from ...training.jobs.job import Job
from ...training.jobs.ticket import Kind
from ...training.recipes.recipe import Recipe
from ...training.sets import store
from ...training.text.prompts import reads_texts, text_model
from ...worlds.known import WORLDS
from ..sets.cached import CachedSet
from ..shared import baking, folders, jobs, merged
from ..shared.cancel import cancellable
from . import preset_numbers
from .inputs import POLICIES, recipe_of
from .trainers import Trainer

NO_FILE = "none"


class MotionTrainer(Trainer):
    """What the methods that learn motion from clips share."""

    @classmethod
    def method_of(cls, inputs: Mapping[str, Any]) -> Kind:
        """The method that the inputs ask for: a node's own."""
        return cls.KIND

    @classmethod
    def asked(cls, inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
        """What the method is asked beside its numbers; None: as the preset says."""
        raise NotImplementedError

    @classmethod
    @cancellable()
    def execute(
        cls,
        model: Any = None,
        motion_module: Any = None,
        clips: CachedSet | None = None,
        clip: Any = None,
        regularization: CachedSet | None = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        if answer := cls.without_training():
            return answer
        assert clips is not None
        given: dict[str, Any] = {"model": model, "motion_module": motion_module, "clip": clip}
        given |= {"regularization": regularization, "inputs": inputs}
        choices = cls.asked(inputs, regularization is not None)
        return cls.learn(cls.method_of(inputs), choices, clips, **given)

    @classmethod
    def validate_inputs(cls, preset: Any = None) -> bool | str:
        return preset_numbers.accepted(cls.KIND, preset)

    @classmethod
    def learn(
        cls,
        method: Kind,
        choices: dict[str, Any],
        clips: CachedSet,
        *,
        model: Any,
        motion_module: Any,
        clip: Any,
        inputs: Mapping[str, Any],
        regularization: CachedSet | None = None,
    ) -> io.NodeOutput:
        """Begin a job of a method. choices: of its recipe, beside the numbers in the inputs.

        Raises UserError for what would spoil the training, before anything large is written.
        """
        name = jobs.adapter_name(inputs["name"])
        recipe = recipe_of(method, inputs, **choices, **baking.predicted(model))
        sets = sets_of(recipe, clips, regularization)
        cached = {role: clips_set.loaded() for role, clips_set in sets.items()}
        check_recipe(recipe, cached)
        notes = [*baking.check(model), *memory_of(model, motion_module, recipe)]
        if method == "newmove" and regularization is None:
            notes.append("No regularization clips: motions like the new one may be lost.")
        adapters = absorber_file(recipe, inputs.get("absorber_file", NO_FILE))
        notes += [note for file in adapters.values() for note in read_image_lora(file).notes]
        job = Job(
            name=name,
            recipe=recipe,
            checkpoint="",  # the largest files: written when all else is found right
            motion_module="",
            sets={role: str(clips_set.folder) for role, clips_set in sets.items()},
            adapters=adapters,
        )
        job = with_texts(job, model, clip, cached)
        motion = merged.motion_file(motion_module.parts)
        written = {"motion_module": str(motion.path), "checkpoint": str(baking.bake(model))}
        job = replace(job, **written)
        files = [Path(file) for file in (job.checkpoint, job.text_encoder) if file]
        files += motion.made
        uses = (*files, *{path for clips_set in sets.values() for path in clips_set.uses})
        place, words = folder_of(recipe), trained_words(job)
        press = (cls.press_id(), cls.uid(), inputs.get("sharing", POLICIES[0]))
        view = jobs.start(method, job, *press, uses, place, words)
        return cls.begun(view, [*notes, *motion.notes])


def sets_of(
    recipe: Recipe, clips: CachedSet, regularization: CachedSet | None
) -> dict[str, CachedSet]:
    """The recipe's names for the sets that it uses."""
    used = {source.set for stage in recipe.stages for source in stage.sources}
    others = {} if regularization is None else {"regularization": regularization}
    return {role: others.get(role, clips) for role in sorted(used)}


def with_texts(
    job: Job, model: ModelPatcher, clip: Any, sets: Mapping[str, store.LoadedSet]
) -> Job:
    """The job with the files that it reads prompts and words with, where it has some.

    All of them are read here as the worker will. Raises UserError where there is no CLIP, and for
    what cannot be read: a caption that lacks a word, the CLIP of another checkpoint.
    """
    base = hooks.layout_of(model)[1]
    if reads_texts(job.recipe) and base not in WORLDS:  # which has words of its own
        if clip is None:
            raise UserError(
                "clip", "nothing", "the CLIP of the checkpoint, to read your words",
                "Connect it; or train no words, and describe in Clip Set instead of prompts.",
            )  # fmt: skip  # file, found, expected, next move
        job = replace(job, text_encoder=str(baking.bake_clip(clip)), tokenizer=str(tokenizer()))
    text_model(job, base, sets)
    return job


def absorber_file(recipe: Recipe, name: str) -> dict[str, str]:
    """The job's file for an absorber that no stage of its own trains."""
    last = recipe.stages[-1]
    if "appearance" not in last.use or len(recipe.stages) > 1:
        return {}
    if name == NO_FILE:
        raise UserError(
            "absorber_file", "none", "a LoRA for images, as absorber says",
            "Choose one, or another absorber.",
        )  # fmt: skip  # file, found, expected, next move
    return {"appearance": str(folders.path_of(folders.LORAS, name).resolve())}


def folder_of(recipe: Recipe) -> str:
    """The folder that loaders of the result look in."""
    adapter = recipe.stages[-1].site.result == "Motion Adapter"
    return folders.MOTION_ADAPTERS if adapter else folders.MOTION_WEIGHTS


def trained_words(job: Job) -> dict[str, Path]:
    """Exports with trained words, by name, and where ComfyUI's CLIP finds them.

    A prompt names them with ``embedding:``, which ends at a space.
    """
    folder = Path(folder_paths.get_folder_paths(folders.EMBEDDINGS)[0])
    return {name: folder / name.replace(" ", "_") for name in embeddings_of(job)}


def tokenizer() -> Path:
    """The folder of CLIP's words in this ComfyUI."""
    return Path(comfy.sd1_clip.__file__).resolve().parent / "sd1_tokenizer"


def memory_of(model: ModelPatcher, module: LoadedMotionModule, recipe: Recipe) -> list[str]:
    """What each stage takes, in words."""
    layout, base = hooks.layout_of(model)
    weights = UNetWeights(hooks.unpatched_unet(model), layout, base, "", "")
    info = module.info
    shapes = module_shapes(
        info.channels, LAYERS[info.channels], info.has_mid_block, info.max_frames
    )
    motion = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    files = weights, MotionModule(info, motion, module.hash, module.name)
    dtype = pick_dtype(recipe.dtype, pick_device("auto"))  # the worker's choice, not ComfyUI's
    return [
        f"Memory, {stage.name}: {budget(*files, recipe, i, dtype)}"
        for i, stage in enumerate(recipe.stages)
    ]
