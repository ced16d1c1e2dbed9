"""The fidelity benchmark's parts: customizations, their trainings, and the clips of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...adapters.files.checkpoint import read_unet
from ...adapters.files.tensors import read_tensors, write_tensors
from ...demo.network import MotionNetwork
from ...training.jobs.job import Job
from ...training.network.lora import set_motion_scale
from ...training.recipes.recipe import Recipe
from ..common.curve import curve
from ..common.estimate import Work
from ..common.parts import Parts, Row, alone, file_name
from ..common.rows import cached_set, shown
from .ground import Ground
from .methods import (
    AMOUNTS,
    MIXED,
    NAIVE,
    OURS,
    SCALES,
    STILL,
    SWEPT,
    Size,
    Training,
    trainings,
)


class Way(NamedTuple):
    """What is sampled: a checkpoint, and a Spatial Adapter where there is one."""

    checkpoint: Path
    adapter: Path | None = None


class Bench:
    """All customizations, in one folder."""

    def __init__(self, out: Path, size: Size, ground: Ground, device: torch.device):
        self.out, self.size, self.ground, self.device = out, size, ground, device
        with alone(out / "natural.lock"):
            clips = ground.write_natural(out / "natural_clips", size.natural)
            self.natural = self.cached(clips, "clips")
        self.labs: dict[str, Lab] = {}

    def cached(self, folder: Path, kind: str) -> Path:
        """A folder of pictures or clips, as a set that a job reads."""
        target = self.out / "cache" / f"{folder.parent.name}-{folder.name}"
        ground = self.ground
        return cached_set(folder, kind, target, ground.encoder(), ground.pixels, ground.frames)

    def parts(self) -> Parts:
        """What is not trained, every training, and the sweep: a row for each clip."""
        parts: dict[str, Callable[[], list[Row]]] = {}
        for token in self.size.tokens:
            for method, rows in UNTRAINED_ROWS.items():
                parts[f"{token}-{method}"] = partial(self._untrained, token, rows)
        for training in trainings(self.size):
            parts[training.name] = partial(self._trained, training)
        for network in SWEPT:
            parts[f"sweep-{network}"] = partial(self._sweep, network)
        return parts

    def work(self) -> dict[str, Work]:
        """What the parts that take long have to do."""
        size = self.size
        clips = len(size.lengths) * size.prompts
        work = {t.name: Work(size.last * size.batch, clips) for t in trainings(size)}
        sweeps = {f"sweep-{n}": Work(0, len(SCALES) * size.sweep_prompts) for n in SWEPT}
        mixed = Work(0, len(AMOUNTS) * size.held_out + size.prompts)
        return work | sweeps | {f"{token}-{MIXED}": mixed for token in size.tokens}

    def _untrained(self, token: str, rows: Callable[[Lab], list[Row]]) -> list[Row]:
        return rows(self.lab(token))

    def _trained(self, training: Training) -> list[Row]:
        return self.lab(training.token).trained_rows(training)

    def lab(self, token: str) -> Lab:
        if token not in self.labs:
            with alone(self.out / token / "begun.lock", waits=False):
                self.labs[token] = Lab(self, token)
        return self.labs[token]

    def _sweep(self, name: str) -> list[Row]:
        """Motion at each scale of the Motion Adapter."""
        lab, count = self.lab(self.size.tokens[0]), self.size.sweep_prompts
        if name == SWEPT[0]:
            scenes, way = self.ground.plain_scenes()[:count], Way(self.ground.base)
        else:
            scenes, way = lab.scenes(count), lab.longest(Training(lab.token, OURS))
        network = lab.network(way, motion_adapter=self.ground.motion_adapter)
        rows: list[Row] = []
        for scale in SCALES:
            set_motion_scale(network.unet, float(scale))
            clips = self.ground.clips(network, scenes, range(count))
            measured = map(self.ground.measured, clips, scenes)
            rows += [{"network": name, "scale": scale, **found} for found in measured]
        return rows


class Lab:
    """One customization: its checkpoint, its sets, and what is trained for it."""

    def __init__(self, bench: Bench, token: str):
        self.bench, self.token, self.size = bench, token, bench.size
        self.ground = ground = bench.ground
        self.folder = bench.out / token
        self.checkpoint = self.folder / "customized.safetensors"
        if not self.checkpoint.exists():
            part = self.checkpoint.with_suffix(".part")
            ground.customize(token, part, self.size.customize_steps)
            part.rename(self.checkpoint)
        self.image_scenes = self.scenes(self.size.stills)
        self.images = self._images()
        folder = ground.write_stills(self.folder / "images", self.images, self.image_scenes)
        self.customized = bench.cached(folder, "stills")
        few = ground.write_stills(self.folder / "reference", *ground.few(token))
        self.reference = bench.cached(few, "stills")

    def _images(self) -> Tensor:
        """What the customized checkpoint makes of its prompts; sampled once."""
        kept = self.folder / "images.safetensors"
        if not kept.exists():
            images = self.ground.stills(self.checkpoint, self.image_scenes, 1000)
            write_tensors(kept, {"images": images}, {})
        return read_tensors(kept)[0]["images"]

    def scenes(self, count: int, skip: int = 0) -> list[Any]:
        """Prompts of this customization, mixed."""
        every = self.ground.scenes(self.token)
        return [every[i % len(every)] for i in range(skip, skip + count)]

    def clips(self, method: str, way: Way) -> list[Row]:
        """Clips of the test prompts, kept and measured."""
        scenes = self.scenes(self.size.prompts)
        return self.rows(method, scenes, self.sample(way, scenes, range(len(scenes))))

    def rows(self, method: str, scenes: Sequence[Any], clips: Tensor, kept: str = "") -> list[Row]:
        """kept: what the file of the clips is called, if not as the method."""
        path = shown(self.bench.out, self.token, kept or method)
        write_tensors(path, {"frames": clips.half()}, {"prompt": scenes[0].prompt})
        about = {"token": self.token, "method": method}
        return [
            {**about, "prompt": scene.prompt, **self.ground.measured(frames, scene)}
            for frames, scene in zip(clips, scenes, strict=True)
        ]

    def sample(self, way: Way, scenes: Sequence[Any], seeds: Sequence[int]) -> Tensor:
        return self.ground.clips(self.network(way), scenes, seeds)

    def network(self, way: Way, motion_adapter: Path | None = None) -> MotionNetwork:
        files = {"motion_adapter": motion_adapter, "spatial_adapter": way.adapter}
        return self.ground.network(way.checkpoint, **files)

    def trained_rows(self, training: Training) -> list[Row]:
        """The clips after each length of a training."""
        scenes, rows = self.scenes(self.size.prompts), []
        for steps, way, held_out in self.points(training):
            clips = self.sample(way, scenes, range(len(scenes)))
            own = {"seed": training.seed, "steps": steps, "held_out": held_out}
            kept = f"{training.method}-{training.seed}-{steps}"
            rows += [row | own for row in self.rows(training.method, scenes, clips, kept)]
        return rows

    def longest(self, training: Training) -> Way:
        *_, last = self.points(training)
        return last[1]

    def points(self, training: Training) -> list[tuple[int, Way, float | None]]:
        """(steps, result, held-out loss) at each length, trained if it is not there yet."""
        recipe = training.recipe(self.size)
        folder = self.folder / "jobs" / file_name(f"{training.method}-{training.seed}")
        full = recipe.stages[0].site.result == "checkpoint"
        with alone(folder.with_suffix(".lock"), waits=False):
            found = list(curve(folder, self._job(recipe), self.size.lengths))
        return [
            (p.steps, Way(p.result) if full else Way(self.checkpoint, p.result), p.held_out)
            for p in found
        ]

    def _job(self, recipe: Recipe) -> Job:
        return Job(
            name="result",
            recipe=recipe,
            checkpoint=str(self.checkpoint),
            motion_module=str(self.ground.motion_module),
            sets=self._sets(recipe),
            adapters={"motion": str(self.ground.motion_adapter)} if recipe.stages[0].use else {},
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
    base, custom = read_unet(lab.ground.base).tensors, read_unet(lab.checkpoint).tensors
    scenes = lab.scenes(lab.size.held_out, skip=lab.size.prompts)
    ways = {}
    for amount in AMOUNTS:
        path = lab.folder / f"interpolation_{amount}.safetensors"
        mixed = {k: torch.lerp(base[k].float(), custom[k].float(), amount) for k in base}
        write_tensors(path, {f"model.diffusion_model.{k}": v for k, v in mixed.items()}, {})
        ways[amount] = Way(path)
    seeds = range(100, 100 + len(scenes))

    def truth(amount: float) -> float:
        clips = lab.sample(ways[amount], scenes, seeds)
        measured = map(lab.ground.measured, clips, scenes)
        return sum(map(lab.ground.in_motion, measured))

    best = max(AMOUNTS, key=truth)
    return [row | {"amount": best} for row in lab.clips(MIXED, ways[best])]


def frozen_still(lab: Lab) -> list[Row]:
    """A picture by the customized checkpoint, repeated: as true as can be, and no clip."""
    scenes = lab.image_scenes[: lab.size.prompts]
    clips = lab.images[: len(scenes), None].expand(-1, lab.ground.frames, -1, -1, -1)
    return lab.rows(STILL, scenes, clips.contiguous())


UNTRAINED_ROWS: dict[str, Callable[[Lab], list[Row]]] = {
    STILL: frozen_still,
    NAIVE: lambda lab: lab.clips(NAIVE, Way(lab.checkpoint)),
    MIXED: interpolation,
}
