"""The methods of the fidelity benchmark: what each trains, and the clips that it makes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...adapters.files.checkpoint import read_unet
from ...adapters.files.tensors import read_tensors, write_tensors
from ...demo import world
from ...demo.data import write_natural_clips, write_stills
from ...demo.evaluate import Clips, Network, sample_stills
from ...demo.measure import measure
from ...demo.run import PRESET
from ...demo.train_world import customization_stills, customize
from ...training.checks.device import pick_device
from ...training.jobs.job import Job, JobFolder
from ...training.recipes.presets import PRESETS
from ...training.recipes.recipe import Recipe, Source, spatial_adapter
from ...training.worker.session import run_job
from ...worlds.shapes.files import BASE, CUSTOMIZED, MOTION_ADAPTER, MOTION_MODULE, WEIGHTS
from ..common.parts import Parts, Row, alone, file_name
from ..common.rows import cached, shown

AMOUNTS = (0.25, 0.5, 0.75)  # of interpolation, chosen on held-out prompts
SCALES = ("-1.5", "-1", "-0.5", "0", "0.25", "0.5", "0.75", "1", "1.25")
SWEPT = ("base", "with the Spatial Adapter")
FULL_WEIGHTS_LR = 1e-4  # of the methods that train every weight; adapters take the demo's


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    tokens: tuple[str, ...] = (*world.STYLES, *world.SUBJECTS)
    prompts: int = 10
    held_out: int = 3  # prompts that choose the interpolation's amount
    customize_steps: int = 500
    steps: int = 40
    batch: int = 2
    stills: int = 48  # by the customized checkpoint
    natural: int = 48
    sweep_prompts: int = 5


FULL = Size()
QUICK = Size(("sks", "pll"), 1, 1, 2, 1, 1, 4, 4, 1)


class Way(NamedTuple):
    """What is sampled: a checkpoint, and a Spatial Adapter where there is one."""

    checkpoint: Path
    adapter: Path | None = None


class Bench:
    """All customizations, in one folder."""

    def __init__(self, out: Path, size: Size, device: str):
        self.out, self.size, self.device = out, size, pick_device(device)
        with alone(out / "natural.lock"):
            clips = write_natural_clips(out / "natural_clips", size.natural, seed=10)
            self.natural = self.cached(clips, "clips")
        self.labs: dict[str, Lab] = {}

    def cached(self, folder: Path, kind: str) -> Path:
        target = self.out / "cache" / f"{folder.parent.name}-{folder.name}"
        return cached(folder, kind, target)

    def parts(self) -> Parts:
        """Every method on every customization, and the sweep: a row for each clip."""
        parts: dict[str, Callable[[], list[Row]]] = {}
        for token in self.size.tokens:
            tested = METHODS | {choice: of(choice) for choice in choices(token)}
            for method, way in tested.items():
                parts[f"{token}-{method}"] = partial(self._part, token, way)
        for network in SWEPT:
            parts[f"sweep-{network}"] = partial(self._sweep, network)
        return parts

    def _part(self, token: str, way: Callable[[Lab], list[Row]]) -> list[Row]:
        return way(self.lab(token))

    def lab(self, token: str) -> Lab:
        if token not in self.labs:
            with alone(self.out / token / "begun.lock", waits=False):
                self.labs[token] = Lab(self, token)
        return self.labs[token]

    def _sweep(self, name: str) -> list[Row]:
        """Motion at each scale of the Motion Adapter."""
        lab, count = self.lab(self.size.tokens[0]), self.size.sweep_prompts
        if name == SWEPT[0]:
            scenes, way = world.spread(world.all_scenes(), count), Way(WEIGHTS / BASE)
        else:
            scenes, way = lab.scenes(count), lab.trained("Still-Moving")
        network = lab.network(way, motion_adapter=WEIGHTS / MOTION_ADAPTER)
        rows = []
        for scale in SCALES:
            clips = network.clips(scenes, range(count), float(scale))
            rows += [{"network": name, "scale": scale, **asdict(m)} for m in clips.measures]
        return rows


class Lab:
    """One customization: its checkpoint, its sets, and what is trained for it."""

    def __init__(self, bench: Bench, token: str):
        self.bench, self.token, self.size = bench, token, bench.size
        self.folder = bench.out / token
        self.checkpoint = self.folder / "customized.safetensors"
        if not self.checkpoint.exists():
            self._customize()
        self.image_scenes = world.spread(world.customized_scenes(token), self.size.stills)
        self.images = self._images()
        folder = write_stills(self.folder / "images", self.images, self.image_scenes)
        self.customized = bench.cached(folder, "stills")
        few = customization_stills(token, torch.Generator().manual_seed(2), shifts=6)
        self.reference = bench.cached(write_stills(self.folder / "reference", *few), "stills")

    def _customize(self) -> None:
        if self.token == world.STYLE_TOKEN and self.size.customize_steps == 500:
            shutil.copyfile(WEIGHTS / CUSTOMIZED, self.checkpoint)  # made by the same lines
            return
        part = self.checkpoint.with_suffix(".part")
        customize(part, self.token, self.bench.device, self.size.customize_steps)
        part.rename(self.checkpoint)

    def _images(self) -> Tensor:
        """What the customized checkpoint makes of its prompts; sampled once."""
        kept = self.folder / "images.safetensors"
        if not kept.exists():
            images = sample_stills(self.checkpoint, self.image_scenes, 1000, self.bench.device)
            write_tensors(kept, {"images": images}, {})
        return read_tensors(kept)[0]["images"]

    def scenes(self, count: int, skip: int = 0) -> list[world.Scene]:
        """Prompts of this customization, mixed."""
        return world.spread(world.customized_scenes(self.token), skip + count)[skip:]

    def clips(self, method: str, way: Way) -> list[Row]:
        """Clips of the test prompts, kept for the picture and measured."""
        scenes = self.scenes(self.size.prompts)
        clips = self.sample(way, scenes, range(len(scenes)))
        return self.rows(method, scenes, clips)

    def rows(self, method: str, scenes: Sequence[world.Scene], clips: Clips) -> list[Row]:
        path = shown(self.bench.out, self.token, method)
        write_tensors(path, {"frames": clips.frames[0]}, {"prompt": scenes[0].prompt})
        return [
            {"token": self.token, "method": method, "prompt": scene.prompt, **asdict(measures)}
            for scene, measures in zip(scenes, clips.measures, strict=True)
        ]

    def sample(self, way: Way, scenes: Sequence[world.Scene], seeds: Sequence[int]) -> Clips:
        return self.network(way).clips(scenes, seeds)

    def network(self, way: Way, motion_adapter: Path | None = None) -> Network:
        files = {"motion_adapter": motion_adapter, "spatial_adapter": way.adapter}
        return Network(way.checkpoint, self.bench.device, **files)

    def trained(self, method: str) -> Way:
        """The result of a recipe, trained if it is not there yet."""
        recipe = RECIPES[method](self.size)
        folder = self.folder / "jobs" / file_name(method)
        result = folder / "export" / "result.safetensors"
        with alone(folder.with_suffix(".lock"), waits=False):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)
                run_job(JobFolder.create(folder, self._job(recipe)), lambda event: None)
        if recipe.stages[0].site.result == "checkpoint":
            return Way(result)
        return Way(self.checkpoint, result)

    def _job(self, recipe: Recipe) -> Job:
        return Job(
            name="result",
            recipe=recipe,
            checkpoint=str(self.checkpoint),
            motion_module=str(WEIGHTS / MOTION_MODULE),
            sets=self._sets(recipe),
            adapters={"motion": str(WEIGHTS / MOTION_ADAPTER)} if recipe.stages[0].use else {},
            device=self.bench.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )

    def _sets(self, recipe: Recipe) -> dict[str, str]:
        places = {
            "customized": self.customized,
            "natural": self.bench.natural,
            "reference": self.reference,
        }
        return {source.set: str(places[source.set]) for source in recipe.stages[0].sources}


def interpolation(lab: Lab) -> list[Row]:
    """Weights between the base and the customized checkpoint, the amount by held-out prompts."""
    base, custom = read_unet(WEIGHTS / BASE).tensors, read_unet(lab.checkpoint).tensors
    scenes = lab.scenes(lab.size.held_out, skip=lab.size.prompts)
    ways = {}
    for amount in AMOUNTS:
        path = lab.folder / f"interpolation_{amount}.safetensors"
        mixed = {k: torch.lerp(base[k].float(), custom[k].float(), amount) for k in base}
        write_tensors(path, {f"model.diffusion_model.{k}": v for k, v in mixed.items()}, {})
        ways[amount] = Way(path)
    held_out = {
        a: lab.sample(way, scenes, range(100, 100 + len(scenes))) for a, way in ways.items()
    }
    best = max(AMOUNTS, key=lambda a: held_out[a].mean(lambda m: in_motion(m.fidelity, m.motion)))
    return [row | {"amount": best} for row in lab.clips("interpolation", ways[best])]


def frozen_still(lab: Lab) -> list[Row]:
    """A picture by the customized checkpoint, repeated: as true as can be, and no clip."""
    scenes = lab.image_scenes[: lab.size.prompts]
    frames = lab.images[: len(scenes), None].expand(-1, world.FRAMES, -1, -1, -1)
    measures = [measure(f, s) for f, s in zip(frames, scenes, strict=True)]
    return lab.rows("a still, repeated", scenes, Clips(frames.contiguous(), measures))


def in_motion(fidelity: float, motion: float) -> float:
    """Fidelity, in full from the slowest natural motion on: a frozen clip counts nothing."""
    return fidelity * min(1.0, motion / world.SPEED[0])


def still_moving(size: Size, *, rank: int = 16, times: float = 1.0, **switches: Any) -> Recipe:
    """The demo's recipe at this benchmark's length; switches are the paper's ablations."""
    lr = FULL_WEIGHTS_LR if switches.get("sites") == "all" else 5e-4
    short = {"steps": max(1, round(size.steps * times)), "batch": size.batch, "held_out": 0}
    numbers = {**PRESETS["spatial"][PRESET], **short, "rank": rank, "lr": lr}
    return spatial_adapter(**numbers, **switches)


def interleaved(size: Size) -> Recipe:
    """Pictures without temporal layers and clips with them, by turns, into every weight."""
    recipe = still_moving(size, sites="all", motion_adapter=False)
    sources = (Source("reference", "frame"), Source("natural", "clip"))
    stage = dataclasses.replace(recipe.stages[0], name="interleaved", sources=sources)
    return dataclasses.replace(recipe, name="interleaved", stages=(stage,))


RECIPES: dict[str, Callable[[Size], Recipe]] = {
    "Still-Moving": still_moving,
    "interleaved training": interleaved,
    "sites: blocks": lambda size: still_moving(size, sites="blocks"),
    "no Motion Adapter": lambda size: still_moving(size, motion_adapter=False),
    "no Spatial Adapter": lambda size: still_moving(size, sites="all"),
    "no natural clips": lambda size: still_moving(size, natural_clips=False),
    "rank 4": lambda size: still_moving(size, rank=4),
    "half the steps": lambda size: still_moving(size, times=0.5),
    "rank 64": lambda size: still_moving(size, rank=64),
    "twice the steps": lambda size: still_moving(size, times=2),
}


def of(method: str) -> Callable[[Lab], list[Row]]:
    return lambda lab: lab.clips(method, lab.trained(method))


METHODS: dict[str, Callable[[Lab], list[Row]]] = {
    "a still, repeated": frozen_still,
    "injection": lambda lab: lab.clips("injection", Way(lab.checkpoint)),
    "interpolation": interpolation,
    **{name: of(name) for name in list(RECIPES)[:6]},
}


def choices(token: str) -> tuple[str, ...]:
    """The ranks and lengths that are tried, too: as long as the table takes, on two alone.

    On one style all of them; on one subject those that would cost less than the defaults.
    """
    style, subject = next(iter(world.STYLES)), next(iter(world.SUBJECTS))
    every = tuple(name for name in RECIPES if name not in METHODS)
    return {style: every, subject: ("rank 4", "half the steps")}.get(token, ())
