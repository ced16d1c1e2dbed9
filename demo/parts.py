"""What the demo makes, as parts: adapters from folders of pictures, and clips with and without.

Each part leaves its results in the demo's folder, where those that need them find them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..adapters.files.tensors import read_tensors, write_tensors
from ..common import files
from ..common.atomic import atomic_write_text
from ..common.errors import UserError
from ..training.checks.device import pick_device
from ..training.jobs.job import Job, JobFolder
from ..training.recipes.recipe import Recipe
from ..training.sets.build import build_set
from ..training.sets.encoders import ShapesEncoder
from ..training.sets.options import CacheOptions
from ..training.worker.session import run_job
from ..worlds.shapes import latents
from ..worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS
from . import lanes, world
from .data import write_natural_clips, write_stills
from .evaluate import STEPS, Clips, Network, sample_stills
from .lanes import Part, Report
from .measure import Measures, measure
from .world import Scene

SCALES = ("1", "0.5", "0", "-0.5", "-1")
METHODS = ("injection", "still_moving")
CHUNK = 4  # clips a part: even, because two are sampled at a time
MOTION, SPATIAL, STILLS = "motion_adapter", "spatial_adapter", "stills"
STILLS_AT_ONCE = 8  # what does not fit the processor's cache takes longer
_SAMPLE = 2.5  # costs, in passes of a clip through the network: a sample of training
_STILL = 25 * 2 / world.FRAMES
_STEP = 2  # of sampling, with CFG

Recipes = tuple[Recipe, Recipe]  # of the Motion and of the Spatial Adapter


@dataclass(frozen=True)
class Plan:
    """Folder and choices of one run; all processes have the same."""

    out: Path
    prompts: int
    device: str
    recipes: Recipes
    natural_clips: int = 48
    customized_stills: int = 48
    sampling_steps: int = STEPS

    def to_json(self) -> str:
        """One line."""
        recipes = [recipe.to_json() for recipe in self.recipes]
        return json.dumps({**self.__dict__, "out": str(self.out), "recipes": recipes})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        data = json.loads(text)
        motion, spatial = map(Recipe.from_json, data["recipes"])
        return cls(**{**data, "out": Path(data["out"]), "recipes": (motion, spatial)})


class Way(NamedTuple):
    """How a set of clips is sampled."""

    checkpoint: str
    needs: tuple[str, ...] = ()  # adapters that are trained before
    scale: float | None = None  # of the Motion Adapter

    @property
    def look(self) -> str:
        """The last word of its prompts, in place of their own; empty: their own."""
        return world.STYLE_TOKEN if self.checkpoint == CUSTOMIZED else ""


# At scale 0 the network is the base: a law of the adapters, and what is sampled for that.
WAYS = {
    "injection": Way(CUSTOMIZED),
    "still_moving": Way(CUSTOMIZED, (SPATIAL,)),
    **{s: Way(BASE, (MOTION,) if float(s) else (), float(s) or None) for s in SCALES},
}


class Demo:
    """One run of the demo, as each of its processes sees it."""

    def __init__(self, plan: Plan):
        self.plan, self.out, self.device = plan, plan.out, pick_device(plan.device)
        self._network: tuple[Any, Network] | None = None

    def parts(self) -> list[Part]:
        """All of it. What others wait for comes first."""
        plan = self.plan
        motion, spatial = (
            recipe.stages[0].steps * recipe.batch * _SAMPLE for recipe in plan.recipes
        )
        about = f"{plan.natural_clips} clips, a single frame of each, held still"
        begun = [
            Part(MOTION, self.motion_adapter, motion, about=f"Motion Adapter: {about}"),
            Part(STILLS, self.stills, plan.customized_stills * _STILL,
                 about=f"{plan.customized_stills} images by the customized checkpoint"),
            Part(SPATIAL, self.spatial_adapter, spatial, (MOTION, STILLS),
                 about="Spatial Adapter: those images held still, and the clips"),
        ]  # fmt: skip  # a part a line
        order = ("still_moving", "injection", "0", *(s for s in SCALES if s != "0"))
        return begun + [self._clips_part(n, first) for n in order for first in self._chunks()]

    def _chunks(self) -> range:
        return range(0, self.plan.prompts, CHUNK)

    def _clips_part(self, name: str, first: int) -> Part:
        count = min(CHUNK, self.plan.prompts - first)
        title = name.replace("_", " ") if name in METHODS else f"scale {name}"
        return Part(
            f"{title}, clip {first + 1} to {first + count}",
            partial(self.sample, name, first),
            cost=_STEP * self.plan.sampling_steps * count,
            needs=WAYS[name].needs,
        )

    # ------------------------------------------------------------------------ training
    def cached(self, folder: Path, kind: str) -> Path:
        """Cache a folder of pictures or clips beside it."""
        size = world.SIZE * latents.FACTOR
        options = CacheOptions(kind=kind, width=size, height=size, frames=world.FRAMES)
        target = self.out / "cache" / folder.name
        build_set(folder, target, ShapesEncoder(), options)
        return target

    def train(self, job: Job, report: Report) -> None:
        """Run a job to its end and copy the adapter to the top of the output folder."""
        folder = self.job(job.name)
        total = job.recipe.stages[0].steps

        def follow(event: dict[str, Any]) -> None:
            if event["event"] == "step":
                word = f"{event['step']}/{total}, loss {event['loss_average']:.4f}"
                report(event["step"] / total, word)

        run_job(JobFolder.create(folder.path, job), follow)
        state = folder.read_state()
        if state.phase != "finished":
            raise UserError(folder.path, state.phase, "a finished job", state.message)
        adapter = self.adapter(job.name)
        files.copy(folder.exports / adapter.name, adapter)

    def job(self, name: str) -> JobFolder:
        return JobFolder(self.out / "jobs" / name)

    def adapter(self, name: str) -> Path:
        return self.out / f"{name}.safetensors"

    def motion_adapter(self, report: Report) -> None:
        folder = self.out / "data" / "natural"
        clips = write_natural_clips(folder, self.plan.natural_clips, seed=10)
        job = Job(
            name=MOTION,
            recipe=self.plan.recipes[0],
            checkpoint=str(WEIGHTS / BASE),
            motion_module=str(WEIGHTS / MOTION_MODULE),
            sets={"frames": str(self.cached(clips, "clips"))},
            device=self.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )
        self.train(job, report)

    def stills(self, report: Report) -> None:
        """What the customized checkpoint draws, as an artist has it: pictures and captions."""
        count, images = self.plan.customized_stills, list[torch.Tensor]()
        styled = world.spread(world.all_scenes((world.STYLE_TOKEN,)), count)
        for i in range(0, count, STILLS_AT_ONCE):
            few = styled[i : i + STILLS_AT_ONCE]
            images.append(sample_stills(WEIGHTS / CUSTOMIZED, few, 1000 + i, self.device))
            report((i + len(few)) / count, "")
        drawn = torch.cat(images)
        self.cached(write_stills(self.out / "data" / "customized", drawn, styled), "stills")
        still = drawn[:, None].expand(-1, 2, -1, -1, -1)  # what is measured is a clip
        measures = [asdict(measure(clip, s)) for clip, s in zip(still, styled, strict=True)]
        files.make_folder(self._stills_measured.parent)
        atomic_write_text(self._stills_measured, json.dumps(measures))

    @property
    def _stills_measured(self) -> Path:
        return self.out / "clips" / "stills.json"

    def stills_measured(self) -> Clips:
        """How true the customized checkpoint's own pictures are, when they are drawn."""
        found = json.loads(files.read_text(self._stills_measured))
        return Clips(torch.empty(0), [Measures(**m) for m in found])

    def spatial_adapter(self, report: Report) -> None:
        job = Job(
            name=SPATIAL,
            recipe=self.plan.recipes[1],
            checkpoint=str(WEIGHTS / CUSTOMIZED),
            motion_module=str(WEIGHTS / MOTION_MODULE),
            sets={name: str(self.out / "cache" / name) for name in ("customized", "natural")},
            adapters={"motion": str(self.adapter(MOTION))},
            device=self.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )
        self.train(job, report)

    # --------------------------------------------------------------------------- clips
    def scenes(self, name: str) -> list[Scene]:
        """The prompts of a set of clips: the same for each but for the look."""
        scenes, look = world.spread(world.all_scenes(), self.plan.prompts), WAYS[name].look
        return [scene._replace(look=look) for scene in scenes] if look else scenes

    def sample(self, name: str, first: int, report: Report) -> None:
        """Some clips of a set, measured. A clip's seed is its number: the same in every set."""
        scenes = self.scenes(name)[first : first + CHUNK]
        network = self._network_of(WAYS[name])
        seeds, steps = range(first, first + len(scenes)), self.plan.sampling_steps
        clips = network.clips(scenes, seeds, WAYS[name].scale, steps)
        measures = json.dumps([asdict(m) for m in clips.measures])
        files.make_folder(self.out / "clips")
        write_tensors(self._chunk(name, first), {"frames": clips.frames}, {"measures": measures})

    def _network_of(self, way: Way) -> Network:
        """The last one again, where only the scale is another."""
        adapters = {need: self.adapter(need) for need in way.needs}
        kind = (way.checkpoint, way.needs)
        if self._network is None or self._network[0] != kind:
            self._network = None  # one at a time in memory
            self._network = kind, Network(WEIGHTS / way.checkpoint, self.device, **adapters)
        return self._network[1]

    def _chunk(self, name: str, first: int) -> Path:
        return self.out / "clips" / f"{name}-{first}.safetensors"

    def clips(self, name: str) -> Clips:
        """A whole set, when its parts are made."""
        found = [read_tensors(self._chunk(name, first)) for first in self._chunks()]
        measures = [Measures(**m) for _, about in found for m in json.loads(about["measures"])]
        return Clips(torch.cat([tensors["frames"] for tensors, _ in found]), measures)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads: with one, not on the machine's number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def serve() -> int:
    """Make the parts of a plan that another process asks for."""
    with one_thread():
        return lanes.serve(lambda plan: Demo(Plan.from_json(plan)).parts())
