"""Sets, recipes and jobs of the motion methods, for the tests: small, with words that are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch

from helpers.small import FRAMES, SIZE, new_unet, weights, write_set
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.recipes import methods
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.sets.store import Item, LoadedSet
from still_moving.training.stage.loop import StageTraining
from still_moving.training.text.learned_words import WorldText
from still_moving.training.text.prompts import text_model
from still_moving.training.worker.stage_inputs import stage_inputs
from still_moving.worlds.known import SHAPES

CAPTION, LOOK, MOTION_WORD = "red circle zigzag night", "red circle night", "pll"
CPU = torch.device("cpu")


def clips(*captions: str, frames: int = FRAMES + 1, size: int = SIZE) -> LoadedSet:
    """A clip of noise for each caption, read as the shapes world reads."""
    model = WorldText(SHAPES.words)
    generator = torch.Generator().manual_seed(len(captions))
    items = [
        Item(
            f"clip {i}",
            caption,
            torch.randn(frames, 4, size, size, generator=generator),
            model.encode(model.pieces(caption), {}),
            f"{i}.mp4",
        )
        for i, caption in enumerate(captions)
    ]
    return LoadedSet("clips", "shapes", tuple(items))


def clip_sets(size: int = SIZE) -> dict[str, LoadedSet]:
    """Under every name that the recipes use. size: of a side, in latent pixels."""
    one = clips(CAPTION, size=size)
    several = ("red circle pll night", "blue square pll fog", "green circle pll sand")
    others = ("red square left night", "blue circle up fog", "green square down sand")
    motion, regularization = clips(*several, size=size), clips(*others, size=size)
    return {"clip": one, "appearance": one, "motion": motion, "regularization": regularization}


SETS: Mapping[str, LoadedSet] = clip_sets()
ONE, SEVERAL, OTHERS = SETS["clip"], SETS["motion"], SETS["regularization"]
SHORT = {"frames": FRAMES, "held_out": 2, "tier": "none", "save_every": 2, "held_out_every": 3}
LOOKS = {"appearance": LOOK, "appearance_rank": 2, "crop": 0.5}
LOOKS |= {"appearance_steps": 3, "appearance_lr": 1e-2}


def customize(**more) -> Recipe:
    return methods.customize_a_video(**{**SHORT, **LOOKS, "steps": 4, "lr": 1e-2, **more})


def vmc(**more) -> Recipe:
    return methods.vmc(**{**SHORT, "steps": 4, "lr": 1e-3, **more})


def newmove(**more) -> Recipe:
    return methods.newmove(**{**SHORT, "motion_word": MOTION_WORD, "steps": 4, "lr": 1e-3, **more})


WORDS = ("red", "circle", "night")
RECIPES: Mapping[str, Recipe] = {
    "customize": customize(),
    "customize, words": customize(absorber="words", words=WORDS),
    "customize, both": customize(absorber="both", words=WORDS),
    "customize, none": customize(absorber="none"),
    "vmc": vmc(),
    "vmc, lora": vmc(sites="temporal.qkv"),
    "vmc, spatial": vmc(sites="spatial.qkv", loss="residual_l2"),
    "vmc, backward": vmc(backward=True, loss="residual_official", mse_weight=0.1),
    "newmove": newmove(),
    "newmove, lora": newmove(full=False),
    "newmove, alone": newmove(keys_values=False, regularization=False, coarse=0.0),
}


def new_training(
    recipe: Recipe,
    index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    sets: Mapping[str, LoadedSet] = SETS,
) -> StageTraining:
    """A stage over a new network; its absorbers, made by an earlier stage, are left out."""
    recipe = dataclasses.replace(
        recipe, stages=tuple(dataclasses.replace(stage, use=()) for stage in recipe.stages)
    )
    job = Job("made", recipe, "", "", dict.fromkeys(sets, ""))
    model = text_model(job, "shapes", sets)
    inputs = stage_inputs(job, index, weights(), sets, Path(), model)
    unet = new_unet(dtype, device)
    return StageTraining(recipe, index, unet, weights().layout, inputs.sets, inputs.words)


def write_sets(folder: Path) -> dict[str, Path]:
    return {name: write_set(folder / name, loaded) for name, loaded in SETS.items()}


def new_job(path: Path, recipe: Recipe, files: Mapping[str, Path], **more) -> JobFolder:
    """files: of ``small.write_files`` and ``write_sets``."""
    job = Job(
        name="made",
        recipe=recipe,
        checkpoint=str(files["checkpoint"]),
        motion_module=str(files["motion_module"]),
        sets={s.set: str(files[s.set]) for stage in recipe.stages for s in stage.sources},
        **{"device": "cpu", **more},
    )
    return JobFolder.create(path, job)
