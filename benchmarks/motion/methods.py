"""The methods of the motion benchmark: what each trains, and the clips that it makes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...adapters.files.tensors import write_tensors
from ...demo import world
from ...demo.data import write_clips, write_natural_clips
from ...demo.evaluate import CFG, Network
from ...demo.shipped_clips import MOTION_WORD, prompt_of, write_several
from ...demo.train_motions import APPEARANCE, INVARIANT
from ...training.checks.device import pick_device
from ...training.jobs.job import Job, JobFolder
from ...training.network import inversion
from ...training.network.lora import set_motion_scale
from ...training.network.unet import predict
from ...training.recipes.presets import make_recipe
from ...training.recipes.recipe import Recipe
from ...training.sets.store import load_set
from ...training.worker.session import run_job
from ...worlds.shapes import latents
from ...worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS
from ..common.parts import Parts, Row, alone, file_name
from ..common.rows import cached, shown
from .world import observe, prompted_scenes, write_reference


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    motions: tuple[str, ...] = ("circle", "zigzag", "stop-and-go")
    seeds: int = 2
    prompts: int = 4
    clips: int = 6  # of NewMove
    natural: int = 16  # of its regularization
    steps: float = 1.0  # times the presets'
    inversion: int = 25  # steps


FULL = Size()
QUICK = Size(("circle",), 2, 1, 2, 2, 0.01, 2)
WORDS = tuple(APPEARANCE.split())
# Of LoRA where a preset has weights in full: those of Customize-A-Video's LoRA and its absorbers.
TEMPORAL_LR, SPATIAL_LR = 1e-2, 1e-3


@dataclass(frozen=True)
class Method:
    """kind: of the recipe, None for the base; numbers: those that are not its preset's.

    inverted: generation starts from the reference's inverted latents, without their colours unless
    ``colours`` keeps them, as the paper does. motion_word: the prompt says the motion's word, not
    "right". like: the method that trains the same, for other sampling.
    """

    kind: str | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    inverted: bool = False
    colours: bool = False
    motion_word: bool = False
    generated: bool = False  # regularization clips by the base, not real ones
    like: str = ""


def _absorbing(absorber: str) -> Method:
    words = WORDS if absorber in ("words", "both") else ()
    chosen = {"absorber": absorber, "appearance": APPEARANCE, "words": words}
    return Method("customize-a-video", chosen)


def _vmc(**numbers: Any) -> Method:
    """As the paper has it, unless ``mse_weight`` says otherwise: the preset adds plain loss."""
    return Method("vmc", {"prompt": INVARIANT, "mse_weight": 0.0, **numbers}, inverted=True)


def _newmove(generated: bool = False, **numbers: Any) -> Method:
    chosen = {"motion_word": MOTION_WORD, **numbers}
    return Method("newmove", chosen, motion_word=True, generated=generated)


PLAIN = "temporal LoRA"
METHODS: dict[str, Method] = {
    "base": Method(),
    "base, inverted start": Method(inverted=True),
    "base, token": Method(motion_word=True),
    PLAIN: _absorbing("none"),
    "Customize-A-Video: LoRA": _absorbing("lora"),
    "Customize-A-Video: words": _absorbing("words"),
    "Customize-A-Video: both": _absorbing("both"),
    "VMC": _vmc(),
    "VMC: colours kept": dataclasses.replace(_vmc(), colours=True, like="VMC"),
    "VMC: fresh noise": dataclasses.replace(_vmc(), inverted=False, like="VMC"),
    "VMC: a share of plain loss": _vmc(mse_weight=1.0),
    "VMC: l2": _vmc(loss="residual_l2"),
    "VMC: plain loss": _vmc(loss="epsilon_mse"),
    "VMC: as its code": _vmc(loss="residual_official"),
    "VMC: LoRA": _vmc(sites="temporal.qkv", lr=TEMPORAL_LR),
    "VMC: spatial layers": _vmc(sites="spatial.qkv", lr=SPATIAL_LR),
    "NewMove": _newmove(),
    "NewMove: even timesteps": _newmove(coarse=0.0),
    "NewMove: no regularization": _newmove(regularization=False),
    "NewMove: generated clips": _newmove(generated=True),
    "NewMove: temporal alone": _newmove(keys_values=False),
    "NewMove: LoRA": _newmove(full=False, lr=TEMPORAL_LR),
}
# On every motion; the ablations on the first one alone.
MAIN = (
    *("base", PLAIN, "Customize-A-Video: both"),
    *("base, inverted start", "VMC", "base, token", "NewMove"),  # each after what it starts from
)


def recipe_of(method: Method, size: Size) -> Recipe:
    """The preset "shapes world" with the method's own numbers."""
    assert method.kind is not None
    recipe = make_recipe(method.kind, "shapes world", **{"held_out": 0, **method.numbers})
    short = [
        dataclasses.replace(stage, steps=max(1, round(stage.steps * size.steps)))
        for stage in recipe.stages
    ]
    return dataclasses.replace(recipe, stages=tuple(short))


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
        """The main methods on every motion, the ablations on one: a row for each clip."""
        parts: dict[str, Callable[[], list[Row]]] = {}
        for motion in self.size.motions:
            for name in METHODS if motion == self.size.motions[0] else MAIN:
                parts[f"{motion}-{name}"] = partial(self._part, motion, name)
        return parts

    def _part(self, motion: str, name: str) -> list[Row]:
        if motion not in self.labs:
            with alone(self.out / "clips" / f"{motion}.lock"):
                self.labs[motion] = Lab(self, motion)
        return self.labs[motion].rows(name)


class Lab:
    """One motion: its reference clips, and what is trained on them."""

    def __init__(self, bench: Bench, motion: str):
        self.bench, self.motion, self.size = bench, motion, bench.size
        clips = bench.out / "clips"
        self.reference = bench.cached(write_reference(clips / f"{motion} one", motion))
        several = write_several(clips / f"{motion} several", motion, self.size.clips)
        self.several = bench.cached(several)

    def rows(self, name: str) -> list[Row]:
        """The clips of a method, kept for the picture and observed."""
        method = METHODS[name]
        scenes = world.spread(prompted_scenes(), self.size.prompts)
        word = MOTION_WORD if method.motion_word else "right"
        prompts = [prompt_of(scene, word) for scene in scenes]
        network = self._network(name)
        if method.inverted:  # from there on nothing is drawn: a second seed gives the same clip
            drawn = self.follow(network, prompts, method.colours)[None].expand(
                self.size.seeds, -1, -1, -1, -1, -1
            )
        else:
            seeds = [range(s * 100, s * 100 + len(prompts)) for s in range(self.size.seeds)]
            drawn = torch.stack([network.frames(prompts, numbers) for numbers in seeds])
        path = shown(self.bench.out, self.motion, name)
        write_tensors(path, {"frames": drawn[0, 0].contiguous()}, {"prompt": prompts[0]})
        counted = drawn[:1] if method.inverted else drawn
        return [
            {"method": name, "motion": self.motion, "scene": scenes[i].prompt, "seed": seed}
            | {"diversity": diversity(drawn[:, i])}
            | observe(clip, scenes[i], self.motion)
            for seed, clips in enumerate(counted)
            for i, clip in enumerate(clips)
        ]

    def _network(self, name: str) -> Network:
        trained = self.trained(name)
        network = Network(WEIGHTS / BASE, self.bench.device, **trained)
        if "motion_adapter" in trained:
            set_motion_scale(network.unet, 1.0)  # a new network has it off
        return network

    def trained(self, name: str) -> dict[str, Path]:
        """What a method puts into the network, trained if it is not there yet."""
        method = METHODS[name]
        if method.like:
            return self.trained(method.like)
        if method.kind is None:
            return {}
        recipe = recipe_of(method, self.size)
        folder = self.bench.out / "jobs" / file_name(f"{self.motion}-{name}")
        result = folder / "export" / "motion.safetensors"
        with alone(folder.with_name(f"{folder.name}.lock"), waits=False):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)
                job = Job(
                    name="motion",
                    recipe=recipe,
                    checkpoint=str(WEIGHTS / BASE),
                    motion_module=str(WEIGHTS / MOTION_MODULE),
                    sets=self._sets(recipe, method),
                    device=self.bench.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
                )
                run_job(JobFolder.create(folder, job), lambda event: None)
        return {ROLES[recipe.stages[-1].site.result]: result}

    def _sets(self, recipe: Recipe, method: Method) -> dict[str, str]:
        places = {
            "clip": self.reference,
            "appearance": self.reference,
            "motion": self.several,
            "regularization": self.bench.sets["generated" if method.generated else "real"],
        }
        used = {source.set for stage in recipe.stages for source in stage.sources}
        return {name: str(places[name]) for name in used}

    def follow(self, network: Network, prompts: list[str], colours: bool) -> Tensor:
        """Clips from the start latents of the reference."""
        start = self.start if colours else inversion.without_colours(self.start)
        begin = start.expand(len(prompts), -1, -1, -1, -1)
        clips = inversion.sample(guided(network, prompts), begin, self.size.inversion)
        return latents.decode_world(clips.transpose(1, 2))

    @cached_property
    def start(self) -> Tensor:
        """The reference as the base inverts it, without words: (1, channels, frames, h, w)."""
        base = Network(WEIGHTS / BASE, self.bench.device)
        item = load_set(self.reference).items[0]
        clip = item.latents[: world.FRAMES].transpose(0, 1)[None]
        silent = inversion.network_of(base.unet, latents.encode_prompt(""))
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
