"""What step n uses, as a pure function of (seed, stage, n): so a resumed run is the same run.

There is no data loader and no generator whose state a checkpoint could miss. Only the standard
library: ``random.Random`` seeded by a string is the same on every machine and Python.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

from ..recipes.recipe import Stage

TIMESTEPS = 1000


@dataclass(frozen=True)
class Draw:
    """One (item, frame, timestep, noise) draw of one source."""

    source: int  # index into stage.sources
    item: int  # index into that source's set
    frame: float  # 0..1, which frame to freeze or to start at; scaled by the item's length
    timestep: int  # 0..TIMESTEPS-1
    noise_seed: int
    crop: tuple[float, float, float] = (0.0, 0.0, 0.0)  # 0..1 each: side and place of a patch


def training_draw(seed: int, stage_index: int, stage: Stage, sizes: list[int], n: int) -> Draw:
    """The n-th draw of a stage. sizes: number of items of each source's set."""
    cycle = [i for i, source in enumerate(stage.sources) for _ in range(source.weight)]
    source = cycle[n % len(cycle)]
    # How many draws of this source came before: its items are shuffled anew each round.
    drawn = n // len(cycle) * stage.sources[source].weight + cycle[: n % len(cycle)].count(source)
    round_number, position = divmod(drawn, sizes[source])
    order = list(range(sizes[source]))
    Random(f"order/{seed}/{stage_index}/{source}/{round_number}").shuffle(order)
    dice = Random(f"sample/{seed}/{stage_index}/{n}")
    frame, even, noise_seed = dice.random(), dice.randrange(TIMESTEPS), dice.getrandbits(63)
    # What was added later is drawn last: the plans of older jobs stay what they are.
    crop = (dice.random(), dice.random(), dice.random())
    timestep = coarse_timestep(dice.random(), stage.coarse) if stage.coarse else even
    return Draw(source, order[position], frame, timestep, noise_seed, crop)


def coarse_timestep(dice: float, coarse: float) -> int:
    """The timestep at which p(t) = (1 - coarse * cos(pi t / T)) / T has summed up to ``dice``.

    dice: 0 up to 1. Favours noisy timesteps, where motion is decided and not detail: NewMove,
    section 3.2, after ReVersion, whose 0.5 it takes. The inverse of the cumulated sum, over the
    whole timesteps 0..T-1 and divided by it: their sum is 1 only up to coarse / T.
    """
    total = _cumulated(coarse)
    return min(bisect_right(total, dice * total[-1]), TIMESTEPS - 1)


@cache
def _cumulated(coarse: float) -> list[float]:
    weights = (1 - coarse * math.cos(math.pi * t / TIMESTEPS) for t in range(TIMESTEPS))
    return list(accumulate(weights))


def held_out_draws(seed: int, stage_index: int, sizes: list[int], count: int) -> list[Draw]:
    """Fixed draws for a loss that is comparable over a run: timesteps spread evenly."""
    draws = []
    for k in range(count):
        dice = Random(f"held-out/{seed}/{stage_index}/{k}")
        source = k % len(sizes)
        timestep = int((k + 0.5) / count * TIMESTEPS)
        draws.append(
            Draw(
                source,
                dice.randrange(sizes[source]),
                dice.random(),
                timestep,
                dice.getrandbits(63),
            )
        )
    return draws
