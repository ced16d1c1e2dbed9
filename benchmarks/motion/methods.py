"""The methods of the motion benchmark, as data: what each trains, and how its clips are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...demo.evaluate import CFG
from ...demo.shipped_clips import MOTION_WORD
from ...demo.train_motions import APPEARANCE, INVARIANT
from ...training.recipes.presets import make_recipe
from ...training.recipes.recipe import Recipe


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    motions: tuple[str, ...] = ("circle", "zigzag", "stop-and-go")
    seeds: int = 2
    prompts: int = 4
    clips: int = 6  # of NewMove
    natural: int = 16  # of its regularization
    lengths: tuple[int, ...] = (100, 200, 400, 800, 1600, 3000)  # steps of training
    chosen: int = 800  # of them: where the ablations are measured, and pictures made
    absorbing: int = 100  # steps of Customize-A-Video's absorber
    inversion: int = 25  # steps


FULL = Size()
QUICK = Size(("circle",), 2, 1, 2, 2, (2, 4), 4, 1, 2)
WORDS = tuple(APPEARANCE.split())
# Of LoRA where a preset has weights in full: those of Customize-A-Video's LoRA and its absorbers.
TEMPORAL_LR, SPATIAL_LR = 1e-2, 1e-3


@dataclass(frozen=True)
class Method:
    """kind: of the recipe, None for the base; numbers: those that are not its preset's.

    inverted: generation starts from the latents to which the network inverts the reference,
    without their colours unless ``colours`` keeps them, as the paper does. by_base: the base
    inverts, not the trained network as in VMC's code. motion_word: the prompt says the motion's
    word, not "right". like: the method that trains the same, for other sampling.
    own: asked for the scene that it was trained on. off: nothing is generated, but the motion
    rendered so many px beside.
    """

    kind: str | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    inverted: bool = False
    colours: bool = False
    by_base: bool = False
    motion_word: bool = False
    generated: bool = False  # regularization clips by the base, not real ones
    like: str = ""
    own: bool = False
    cfg: float = CFG
    off: float | None = None


def _absorbing(absorber: str, **numbers: Any) -> Method:
    words = WORDS if absorber in ("words", "both") else ()
    chosen = {"absorber": absorber, "appearance": APPEARANCE, "words": words, **numbers}
    return Method("customize-a-video", chosen)


def _vmc(**numbers: Any) -> Method:
    return Method("vmc", {"prompt": INVARIANT, **numbers}, inverted=True)


def _newmove(generated: bool = False, **numbers: Any) -> Method:
    chosen = {"motion_word": MOTION_WORD, **numbers}
    return Method("newmove", chosen, motion_word=True, generated=generated)


PLAIN = "temporal LoRA"
METHODS: dict[str, Method] = {
    "rendered": Method(off=0.0),
    "rendered, 0.2 px beside": Method(off=0.2),
    "base": Method(),
    "base, inverted start": Method(inverted=True),
    "base, token": Method(motion_word=True),
    PLAIN: _absorbing("none"),
    f"{PLAIN}: its own scene": dataclasses.replace(_absorbing("none"), own=True, like=PLAIN),
    f"{PLAIN}: CFG 1": dataclasses.replace(_absorbing("none"), cfg=1.0, like=PLAIN),
    f"{PLAIN}: every timestep alike": _absorbing("none", debiased=False),
    "Customize-A-Video: LoRA": _absorbing("lora"),
    "Customize-A-Video: words": _absorbing("words"),
    "Customize-A-Video: both": _absorbing("both"),
    "VMC": _vmc(),
    "VMC: colours kept": dataclasses.replace(_vmc(), colours=True, like="VMC"),
    "VMC: inverted by the base": dataclasses.replace(_vmc(), by_base=True, like="VMC"),
    "VMC: fresh noise": dataclasses.replace(_vmc(), inverted=False, like="VMC"),
    "VMC: a share of plain loss": _vmc(mse_weight=1.0),
    "VMC: l2": _vmc(loss="residual_l2"),
    "VMC: plain loss": _vmc(loss="epsilon_mse"),
    "VMC: as its code": _vmc(loss="residual_official"),
    "VMC: every timestep alike": _vmc(debiased=False),
    "VMC: LoRA": _vmc(sites="temporal.qkv", lr=TEMPORAL_LR),
    "VMC: spatial layers": _vmc(sites="spatial.qkv", lr=SPATIAL_LR),
    "NewMove": _newmove(),
    "NewMove: its own scene": dataclasses.replace(_newmove(), own=True, like="NewMove"),
    "NewMove: every timestep alike": _newmove(debiased=False),
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
    """The preset "shapes world" with the method's own numbers, at the chosen length."""
    assert method.kind is not None
    numbers: dict[str, Any] = {"held_out": 0, "steps": size.chosen, **method.numbers}
    if method.kind == "customize-a-video":
        numbers["appearance_steps"] = size.absorbing
    return make_recipe(method.kind, "shapes world", **numbers)


def lengths_of(name: str, size: Size) -> tuple[int, ...]:
    """Steps of training after which a method is measured; 0 for what is not trained."""
    if METHODS[name].kind is None:
        return (0,)
    return size.lengths if name in MAIN else (size.chosen,)


class Part(NamedTuple):
    """What is measured at once."""

    motion: str
    method: str
    steps: int  # of training

    @property
    def label(self) -> str:
        return "-".join([self.motion, self.method, *([str(self.steps)] if self.steps else [])])


def parts_of(size: Size) -> list[Part]:
    """Motion by motion, shorter trainings first, so that curves grow; the ablations last."""
    of = [Part(m, n, s) for m in size.motions for n in MAIN for s in lengths_of(n, size)]
    of.sort(key=lambda part: (size.motions.index(part.motion), part.steps))
    first = size.motions[0]
    return of + [Part(first, n, lengths_of(n, size)[-1]) for n in METHODS if n not in MAIN]


def samples(part: Part, size: Size) -> int:
    """That a part trains on, gone on from the length before."""
    method = METHODS[part.method]
    if method.kind is None or method.like:
        return 0
    recipe = recipe_of(method, size)
    before = max((s for s in lengths_of(part.method, size) if s < part.steps), default=0)
    absorbing = 0 if before else sum(stage.steps for stage in recipe.stages[:-1])
    return recipe.batch * (part.steps - before + absorbing)
