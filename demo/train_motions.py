"""The motions that the shapes world ships: a circle, learned by each method from its clips.

What a press of Train in the example workflows does, with the same recipes on the same clips. Steps
of 0 are the preset's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from ..common import files
from ..training.checks.device import pick_device
from ..training.jobs.job import Job, JobFolder
from ..training.recipes.presets import make_recipe
from ..training.recipes.recipe import Recipe
from ..training.sets.build import build_set
from ..training.sets.encoders import ShapesEncoder
from ..training.sets.options import CacheOptions
from ..training.worker.session import run_job
from ..worlds.shapes.files import (
    BASE,
    CLIPS,
    MOTION_LORA,
    MOTION_MODULE,
    NATURAL_CLIPS,
    NEWMOVE,
    ONE_CLIP,
    SEVERAL_CLIPS,
    VMC,
    WEIGHTS,
)
from . import world
from .reference import SCENE
from .shipped_clips import MOTION_WORD, write_shipped_clips

PRESET = "shapes world"
APPEARANCE = f"{SCENE.colour} {SCENE.shape} {SCENE.look}"  # the clip's prompt without its motion
INVARIANT = f"{SCENE.shape} {SCENE.direction}"  # without its look


def train_motion_lora(out: Path, device: torch.device, steps: int | None = None) -> None:
    """Customize-A-Video: the motion LoRA of the one clip."""
    recipe = make_recipe(
        "customize-a-video",
        PRESET,
        absorber="both",
        words=(SCENE.colour, SCENE.shape, SCENE.look),
        appearance=APPEARANCE,
        caption=SCENE.prompt,
        steps=steps,
        appearance_steps=steps,
    )
    _train(out, MOTION_LORA, recipe, {"clip": ONE_CLIP, "appearance": ONE_CLIP}, device)


def train_vmc(out: Path, device: torch.device, steps: int | None = None) -> None:
    """VMC: the motion weights of the one clip."""
    recipe = make_recipe("vmc", PRESET, prompt=INVARIANT, steps=steps)
    _train(out, VMC, recipe, {"clip": ONE_CLIP}, device)


def train_newmove(out: Path, device: torch.device, steps: int | None = None) -> None:
    """NewMove: the motion weights of the several clips, called by their word."""
    recipe = make_recipe("newmove", PRESET, motion_word=MOTION_WORD, steps=steps)
    sets = {"motion": SEVERAL_CLIPS, "regularization": NATURAL_CLIPS}
    _train(out, NEWMOVE, recipe, sets, device)


MOTIONS = {MOTION_LORA: train_motion_lora, VMC: train_vmc, NEWMOVE: train_newmove}


def train_motions(device: str) -> None:
    """The clips and what is learned from them, anew, into the pack."""
    write_shipped_clips()
    for name, train in MOTIONS.items():
        tqdm.write(name)
        train(WEIGHTS, pick_device(device))


def _train(
    out: Path, name: str, recipe: Recipe, sets: Mapping[str, str], device: torch.device
) -> None:
    """Run a recipe as a job, and keep the file that it makes under ``name`` in ``out``.

    sets: the recipe's names for the shipped folders of clips.
    """
    stem = Path(name).stem
    with tempfile.TemporaryDirectory() as temporary:
        cached = {
            role: str(_cached(folder, Path(temporary) / folder)) for role, folder in sets.items()
        }
        job = Job(
            name=stem,
            recipe=recipe,
            checkpoint=str(out / BASE),
            motion_module=str(out / MOTION_MODULE),
            sets=cached,
            device=device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )
        folder = Path(temporary) / "job"
        run_job(JobFolder.create(folder, job), lambda event: None)
        files.copy(folder / "export" / name, out / name)


def _cached(name: str, target: Path) -> Path:
    """A shipped folder of clips as a set that a job reads."""
    side = world.SIZE * 8
    options = CacheOptions(kind="clips", width=side, height=side, frames=world.FRAMES)
    build_set(CLIPS / name, target, ShapesEncoder(), options)
    return target
