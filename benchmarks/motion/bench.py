"""The motion benchmark at work: trainings to each length, and the clips that come of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...adapters.files.tensors import write_tensors
from ...demo import world
from ...demo.data import write_clips, write_natural_clips
from ...demo.evaluate import CFG, Network
from ...demo.reference import SCENE
from ...demo.shipped_clips import MOTION_WORD, prompt_of, write_several
from ...demo.world import Scene
from ...training.checks.device import pick_device
from ...training.jobs.job import Job
from ...training.network import inversion
from ...training.network.lora import set_motion_scale
from ...training.network.unet import predict
from ...training.recipes.recipe import Recipe
from ...training.sets.store import load_set
from ...worlds.shapes import latents
from ...worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS
from ..common.curve import curve
from ..common.estimate import Work
from ..common.parts import Parts, Row, alone, file_name
from ..common.rows import cached, shown
from .methods import METHODS, Method, Part, Size, lengths_of, parts_of, recipe_of, samples
from .world import observe, prompted_scenes, rendered, write_reference


class Bench:
    """All motions, in one folder."""

    def __init__(self, out: Path, size: Size, device: str):
        self.out, self.size, self.device = out, size, pick_device(device)
        with alone(out / "sets.lock"):
            real = write_natural_clips(out / "clips" / "real", size.natural, seed=10)
            generated = self._generated()
            self.sets = {"real": self.cached(real), "generated": self.cached(generated)}
        self.labs: dict[str, Lab] = {}

    def cached(self, folder: Path) -> Path:
        return cached(folder, "clips", self.out / "cache" / folder.name)

    def _generated(self) -> Path:
        """The base's own clips of the prompts of the real ones."""
        folder = self.out / "clips" / "generated"
        if not folder.exists():
            prompts = [s.prompt for s in world.spread(world.all_scenes(), self.size.natural)]
            network = Network(WEIGHTS / BASE, self.device)
            frames = network.frames(prompts, range(500, 500 + len(prompts)))
            write_clips(folder, list(frames), prompts)
        return folder

    def parts(self) -> Parts:
        """A row for each clip: of each method at each length, shorter ones first."""
        return {part.label: partial(self._part, part) for part in parts_of(self.size)}

    def work(self) -> dict[str, Work]:
        """What the parts have to do, each going on from the length before."""
        return {
            part.label: Work(samples(part, self.size), self.size.prompts * self.size.seeds)
            for part in parts_of(self.size)
        }

    def _part(self, part: Part) -> list[Row]:
        if part.motion not in self.labs:
            with alone(self.out / "clips" / f"{part.motion}.lock"):
                self.labs[part.motion] = Lab(self, part.motion)
        return self.labs[part.motion].rows(part.method, part.steps)


class Lab:
    """One motion: its reference clips, and what is trained on them."""

    def __init__(self, bench: Bench, motion: str):
        self.bench, self.motion, self.size = bench, motion, bench.size
        clips = bench.out / "clips"
        self.reference = bench.cached(write_reference(clips / f"{motion} one", motion))
        several = write_several(clips / f"{motion} several", motion, self.size.clips)
        self.several = bench.cached(several)

    def rows(self, name: str, steps: int) -> list[Row]:
        """The clips of a method after so many steps, kept for the picture and observed."""
        method = METHODS[name]
        count = self.size.prompts
        scenes = [SCENE] * count if method.own else world.spread(prompted_scenes(), count)
        word = MOTION_WORD if method.motion_word else "right"
        prompts = [prompt_of(scene, word) for scene in scenes]
        drawn = self._drawn(name, steps, scenes, prompts)
        if steps in (0, self.size.chosen):
            path = shown(self.bench.out, self.motion, name)
            write_tensors(path, {"frames": drawn[0, 0].contiguous()}, {"prompt": prompts[0]})
        counted = drawn[:1] if method.inverted else drawn
        return [
            {"method": name, "motion": self.motion, "steps": steps}
            | {"scene": scenes[i].prompt, "seed": seed, "diversity": diversity(drawn[:, i])}
            | observe(clip, scenes[i], self.motion)
            for seed, clips in enumerate(counted)
            for i, clip in enumerate(clips)
        ]

    def _drawn(self, name: str, steps: int, scenes: list[Scene], prompts: list[str]) -> Tensor:
        """(seeds, prompts, frames, 3, h, w); from inverted latents a seed changes nothing."""
        method, count = METHODS[name], len(prompts)
        seeds = [range(s * 100, s * 100 + count) for s in range(self.size.seeds)]
        if method.off is not None:
            clips = [
                rendered(scene, self.motion, method.off, n)
                for numbers in seeds
                for scene, n in zip(scenes, numbers, strict=True)
            ]
            return torch.stack(clips).unflatten(0, (len(seeds), count))
        network = self._network(self.trained(name, steps))
        if method.inverted:
            clips = self.follow(network, prompts, method)
            return clips[None].expand(len(seeds), -1, -1, -1, -1, -1)
        return torch.stack([network.frames(prompts, n, cfg=method.cfg) for n in seeds])

    def _network(self, trained: dict[str, Path]) -> Network:
        network = Network(WEIGHTS / BASE, self.bench.device, **trained)
        if "motion_adapter" in trained:
            set_motion_scale(network.unet, 1.0)  # a new network has it off
        return network

    def trained(self, name: str, steps: int) -> dict[str, Path]:
        """What a method puts into the network after so many steps, trained if it is not there."""
        method = METHODS[name]
        if method.like:
            return self.trained(method.like, steps)
        if method.kind is None:
            return {}
        recipe = recipe_of(method, self.size)
        folder = self.bench.out / "jobs" / file_name(f"{self.motion}-{name}")
        shorter = [length for length in lengths_of(name, self.size) if length <= steps]
        with alone(folder.with_name(f"{folder.name}.lock"), waits=False):
            *_, point = curve(folder, self._job(method, recipe), shorter)
        return {ROLES[recipe.stages[-1].site.result]: point.result}

    def _job(self, method: Method, recipe: Recipe) -> Job:
        return Job(
            name="motion",
            recipe=recipe,
            checkpoint=str(WEIGHTS / BASE),
            motion_module=str(WEIGHTS / MOTION_MODULE),
            sets=self._sets(recipe, method),
            device=self.bench.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )

    def _sets(self, recipe: Recipe, method: Method) -> dict[str, str]:
        places = {
            "clip": self.reference,
            "appearance": self.reference,
            "motion": self.several,
            "regularization": self.bench.sets["generated" if method.generated else "real"],
        }
        used = {source.set for stage in recipe.stages for source in stage.sources}
        return {name: str(places[name]) for name in used}

    def follow(self, network: Network, prompts: list[str], method: Method) -> Tensor:
        """Clips from the start latents of the reference."""
        inverting = Network(WEIGHTS / BASE, self.bench.device) if method.by_base else network
        start = self.start(inverting)
        begin = start if method.colours else inversion.without_colours(start)
        begin = begin.expand(len(prompts), -1, -1, -1, -1)
        clips = inversion.sample(guided(network, prompts), begin, self.size.inversion)
        return latents.decode_world(clips.transpose(1, 2))

    def start(self, network: Network) -> Tensor:
        """The reference as a network inverts it, without words: (1, channels, frames, h, w)."""
        item = load_set(self.reference).items[0]
        clip = item.latents[: world.FRAMES].transpose(0, 1)[None]
        silent = inversion.network_of(network.unet, latents.encode_prompt(""))
        return inversion.invert(silent, clip, self.size.inversion)


# How ``Network`` calls a file, by what it is.
ROLES: dict[str, str] = {
    "Motion Adapter": "motion_adapter",
    "image LoRA": "image_lora",
    "motion weights": "motion_weights",
}


def guided(network: Network, prompts: list[str]) -> inversion.Network:
    """The network at the demo's CFG, a prompt for each clip."""
    prompted = torch.stack([latents.encode_prompt(prompt) for prompt in prompts])
    text = torch.cat([latents.encode_prompt("").expand_as(prompted), prompted])

    def noise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        device = next(network.unet.parameters()).device
        both = torch.cat([noisy, noisy]).to(device), torch.cat([timesteps, timesteps]).to(device)
        plain, conditional = predict(network.unet, *both, text.to(device)).chunk(2)
        return (plain + CFG * (conditional - plain)).to(noisy)

    return noise


def diversity(clips: Tensor) -> float:
    """RMS difference of a prompt's clips with different seeds. clips: (seeds, frames, ...)."""
    pairs = [(a, b) for i, a in enumerate(clips) for b in clips[i + 1 :]]
    return sum(float((a - b).square().mean().sqrt()) for a, b in pairs) / max(1, len(pairs))
