"""The methods of the fidelity benchmark: what each trains, how often, and on what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...training.recipes.recipe import Recipe, Source, spatial_adapter

AMOUNTS = (0.25, 0.5, 0.75)  # of interpolation, chosen on held-out prompts
SCALES = ("-1.5", "-1", "-0.5", "0", "0.25", "0.5", "0.75", "1", "1.25")
SWEPT = ("base", "with the Spatial Adapter")
ADAPTERS_LR, FULL_WEIGHTS_LR = 5e-4, 1e-4  # of all weights: a rate that a fine-tuning would take
RANK = 16

OURS, NAIVE, MIXED, STILL = "Still-Moving", "injection", "interpolation", "a still, repeated"
NO_MOTION, NO_SPATIAL, NO_NATURAL = "no Motion Adapter", "no Spatial Adapter", "no natural clips"
INTERLEAVED, SAME_RATE, BLOCKS = "interleaved training", "all weights, same rate", "sites: blocks"
UNTRAINED = (STILL, NAIVE, MIXED)


@dataclass(frozen=True)
class Size:
    """How much of everything. two: the customizations that ranks are compared on; preset: the
    numbers of the world's own trainings, where this has none."""

    tokens: tuple[str, ...]
    two: tuple[str, ...] = ()
    preset: Mapping[str, Any] = field(default_factory=dict[str, Any])
    prompts: int = 10
    held_out: int = 3  # prompts that choose the interpolation's amount
    customize_steps: int = 500
    lengths: tuple[int, ...] = (40, 80, 160, 320, 640)
    seeds: int = 2  # of training, for the main rows
    batch: int = 2
    stills: int = 48  # by the customized checkpoint
    natural: int = 48
    sweep_prompts: int = 5

    @property
    def last(self) -> int:
        return self.lengths[-1]


def still_moving(size: Size, **switches: Any) -> Recipe:
    """The demo's recipe at its length here; switches are the paper's ablations."""
    own = {
        "steps": size.last,
        "batch": size.batch,
        "rank": RANK,
        "lr": ADAPTERS_LR,
        "ema": 0.95,
        "save_every": 40,
        "held_out_every": size.lengths[0],
    }
    return spatial_adapter(**{**size.preset, **own, **switches})


def interleaved(size: Size) -> Recipe:
    """Pictures without temporal layers and clips with them, by turns, into every weight."""
    recipe = still_moving(size, sites="all", motion_adapter=False, lr=FULL_WEIGHTS_LR)
    sources = (Source("reference", "frame"), Source("natural", "clip"))
    stage = dataclasses.replace(recipe.stages[0], name="interleaved", sources=sources)
    return dataclasses.replace(recipe, name="interleaved", stages=(stage,))


@dataclass(frozen=True)
class Method:
    """main: trained with every seed; the others with one. everywhere: or on two customizations."""

    recipe: Callable[[Size], Recipe]
    main: bool = False
    everywhere: bool = True

    def tokens(self, size: Size) -> tuple[str, ...]:
        return size.tokens if self.everywhere else size.two

    def seeds(self, size: Size) -> range:
        return range(size.seeds if self.main else 1)


def _ours(main: bool = False, everywhere: bool = True, **switches: Any) -> Method:
    return Method(lambda size: still_moving(size, **switches), main, everywhere)


METHODS: dict[str, Method] = {
    OURS: _ours(main=True),
    NO_MOTION: _ours(main=True, motion_adapter=False),
    NO_NATURAL: _ours(main=True, natural_clips=False),
    NO_SPATIAL: _ours(main=True, sites="all", lr=FULL_WEIGHTS_LR),
    INTERLEAVED: Method(interleaved, main=True),
    SAME_RATE: _ours(sites="all"),
    BLOCKS: _ours(sites="blocks"),
    "rank 4": _ours(everywhere=False, rank=4),
    "rank 64": _ours(everywhere=False, rank=64),
}
ALL = (*UNTRAINED, *METHODS)


@dataclass(frozen=True)
class Training:
    """One training: a customization, a method, a seed."""

    token: str
    method: str
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.token}-{self.method}-{self.seed}"

    def recipe(self, size: Size) -> Recipe:
        return dataclasses.replace(METHODS[self.method].recipe(size), seed=self.seed)


def trainings(size: Size) -> list[Training]:
    """What matters most first: each method on every customization, first seeds before others."""
    return [
        Training(token, name, seed)
        for seed in range(size.seeds)
        for name, method in METHODS.items()
        if seed in method.seeds(size)
        for token in method.tokens(size)
    ]
