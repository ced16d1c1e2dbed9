"""The main job from end to end: both adapters from still images, clips, and the numbers.

It goes the way an artist goes: folders of pictures, ``cache``, jobs that the worker runs, adapter
files, clips. Only the world is small.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..common import files
from ..common.atomic import atomic_write_text
from ..common.errors import UserError
from ..training.checks.device import pick_device
from ..training.jobs.job import Job, JobFolder
from ..training.recipes.presets import make_recipe
from ..training.recipes.recipe import Recipe
from ..training.sets.build import build_set
from ..training.sets.encoders import ShapesEncoder
from ..training.sets.options import CacheOptions
from ..training.worker.session import run_job
from ..worlds.shapes import latents
from ..worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS
from . import show, world
from .data import write_natural_clips, write_stills
from .evaluate import CFG, STEPS, Clips, Network, check, sample_stills
from .world import Scene

SCALES = ("1", "0.5", "0", "-0.5", "-1")
NATURAL_CLIPS = 48
CUSTOMIZED_STILLS = 48
SHOWN = 4  # rows of the pictures
PRESET = "shapes world"
MOTION_RECIPE = make_recipe("motion", PRESET)
SPATIAL_RECIPE = make_recipe("spatial", PRESET)

Recipes = tuple[Recipe, Recipe]  # of the Motion and of the Spatial Adapter


@dataclass
class Demo:
    """Folders and choices of one run."""

    out: Path
    prompts: int
    device: torch.device
    quiet: bool
    recipes: Recipes

    def say(self, text: str) -> None:
        if not self.quiet:
            tqdm.write(text)

    def cached(self, folder: Path, kind: str) -> Path:
        """Cache a folder of pictures or clips beside it."""
        size = world.SIZE * latents.FACTOR
        options = CacheOptions(kind=kind, width=size, height=size, frames=world.FRAMES)
        target = self.out / "cache" / folder.name
        build_set(folder, target, ShapesEncoder(), options)
        return target

    def train(self, job: Job) -> Path:
        """Run a job to its end and copy the adapter to the top of the output folder."""
        folder = JobFolder.create(self.out / "jobs" / job.name, job)
        total = job.recipe.stages[0].steps
        with tqdm(total=total, desc=f"  {job.name}", unit="step", disable=self.quiet) as bar:

            def follow(event: dict[str, Any]) -> None:
                if event["event"] == "step":
                    bar.update(event["step"] - bar.n)
                    bar.set_postfix(loss=f"{event['loss_average']:.4f}", refresh=False)

            run_job(folder, follow)
        state = folder.read_state()
        if state.phase != "finished":
            raise UserError(folder.path, state.phase, "a finished job", state.message)
        show.plot_loss(self.out / f"loss_{job.name}.png", folder, job.recipe.name)
        adapter = self.out / f"{job.name}.safetensors"
        files.copy(folder.exports / adapter.name, adapter)
        return adapter


def run_demo(
    out: Path,
    prompts: int,
    device: str,
    quiet: bool = False,
    recipes: Recipes = (MOTION_RECIPE, SPATIAL_RECIPE),
) -> dict[str, Any]:
    """Run everything and write it to ``out``; returns the contents of metrics.json."""
    for name in (BASE, MOTION_MODULE, CUSTOMIZED):
        if not (WEIGHTS / name).is_file():
            raise UserError(
                WEIGHTS / name, "nothing", "the shapes world's weights", "Get the pack again."
            )
    started = time.monotonic()
    demo = Demo(prepare(out), prompts, pick_device(device), quiet, recipes)
    motion_adapter = train_motion_adapter(demo)
    spatial_adapter = train_spatial_adapter(demo, motion_adapter)
    metrics = compare(demo, motion_adapter, spatial_adapter)
    metrics["checks"] = check(metrics)
    metrics["seconds"] = round(time.monotonic() - started)
    atomic_write_text(out / "metrics.json", json.dumps(metrics, indent=2))
    return metrics


def prepare(out: Path) -> Path:
    """An output folder without the results of an earlier run; other files in it are left."""
    files.make_folder(out)
    for name in ("data", "cache", "jobs"):
        files.remove_tree(out / name)
    return out


def train_motion_adapter(demo: Demo) -> Path:
    demo.say(f"1/3  Motion Adapter: {NATURAL_CLIPS} clips, a single frame of each, held still")
    clips = write_natural_clips(demo.out / "data" / "natural", NATURAL_CLIPS, seed=10)
    job = Job(
        name="motion_adapter",
        recipe=demo.recipes[0],
        checkpoint=str(WEIGHTS / BASE),
        motion_module=str(WEIGHTS / MOTION_MODULE),
        sets={"frames": str(demo.cached(clips, "clips"))},
        device=demo.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
    )
    return demo.train(job)


def train_spatial_adapter(demo: Demo, motion_adapter: Path) -> Path:
    demo.say(f"2/3  Spatial Adapter: {CUSTOMIZED_STILLS} images by the customized checkpoint")
    styled = world.spread(world.all_scenes((world.STYLE_TOKEN,)), CUSTOMIZED_STILLS)
    images = sample_stills(WEIGHTS / CUSTOMIZED, styled, 1000, demo.device)
    stills = write_stills(demo.out / "data" / "customized", images, styled)
    job = Job(
        name="spatial_adapter",
        recipe=demo.recipes[1],
        checkpoint=str(WEIGHTS / CUSTOMIZED),
        motion_module=str(WEIGHTS / MOTION_MODULE),
        sets={
            "customized": str(demo.cached(stills, "stills")),
            "natural": str(demo.out / "cache" / "natural"),
        },
        adapters={"motion": str(motion_adapter)},
        device=demo.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
    )
    return demo.train(job)


def compare(demo: Demo, motion_adapter: Path, spatial_adapter: Path) -> dict[str, Any]:
    """Generate the same prompts and seeds every way, measure them and draw the pictures."""
    demo.say(f"3/3  {demo.prompts} clips at each scale, and with each way to customize")
    scenes = world.spread(world.all_scenes(), demo.prompts)
    styled = [scene._replace(look=world.STYLE_TOKEN) for scene in scenes]
    seeds = range(demo.prompts)
    bar = tqdm(total=len(SCALES) + 2, desc="  clips", unit="set", disable=demo.quiet)
    with bar:
        network = Network(WEIGHTS / BASE, demo.device, motion_adapter=motion_adapter)
        sweep = {}
        for scale in SCALES:
            sweep[scale] = network.clips(scenes, seeds, float(scale))
            bar.update()
        methods = {}
        for name, adapter in (("injection", None), ("still_moving", spatial_adapter)):
            network = Network(WEIGHTS / CUSTOMIZED, demo.device, spatial_adapter=adapter)
            methods[name] = network.clips(styled, seeds)
            bar.update()
    motion = {scale: clips.summary() for scale, clips in sweep.items()}
    draw(demo.out, scenes, sweep, methods)
    show.plot_motion(
        demo.out / "motion.png",
        {scale: numbers["motion"] for scale, numbers in motion.items()},
        {scale: numbers["motion_error"] for scale, numbers in motion.items()},
    )
    return {
        "motion_by_scale": {scale: numbers["motion"] for scale, numbers in motion.items()},
        "motion_error_by_scale": {s: numbers["motion_error"] for s, numbers in motion.items()},
        "base": motion["0"],
        **{name: clips.summary() for name, clips in methods.items()},
        "settings": {
            "prompts": demo.prompts,
            "sampling_steps": STEPS,
            "cfg": CFG,
            "device": demo.device.type,
            "motion_adapter": json.loads(demo.recipes[0].to_json()),
            "spatial_adapter": json.loads(demo.recipes[1].to_json()),
        },
    }


def draw(
    out: Path, scenes: Sequence[Scene], sweep: dict[str, Clips], methods: dict[str, Clips]
) -> None:
    rows = range(min(SHOWN, len(scenes)))
    show.clip_grid(
        out / "sweep.gif",
        [f"scale {scale}" for scale in SCALES],
        [scenes[i].prompt for i in rows],
        [[sweep[scale].frames[i] for scale in SCALES] for i in rows],
    )
    show.clip_grid(
        out / "comparison.gif",
        ["injection", "Still-Moving"],
        [scenes[i]._replace(look=world.STYLE_TOKEN).prompt for i in rows],
        [[methods[name].frames[i] for name in ("injection", "still_moving")] for i in rows],
    )


def summary(metrics: dict[str, Any], out: Path) -> str:
    """The numbers as a short table, and where the pictures are."""
    lines = ["", "motion by scale (pixels per frame)"]
    lines += [f"  {scale:>5}  {value:.2f}" for scale, value in metrics["motion_by_scale"].items()]
    lines += ["", f"{'':14}{'fidelity':>10}{'prompt':>10}{'motion':>10}{'flicker':>10}"]
    for name in ("base", "injection", "still_moving"):
        row = metrics[name]
        lines.append(
            f"{name:14}{row['fidelity']:10.3f}{row['prompt_accuracy']:10.2f}"
            f"{row['motion']:10.2f}{row['frame_difference']:10.3f}"
        )
    lines.append("")
    lines += [f"  {'yes' if ok else 'NO ':4}{text}" for text, ok in metrics["checks"].items()]
    lines += ["", f"{metrics['seconds']} s. Look at sweep.gif, comparison.gif and motion.png in"]
    return "\n".join([*lines, f"  {out}"])
