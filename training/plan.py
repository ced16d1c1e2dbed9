"""What step n uses, as a pure function of (seed, stage, n): so a resumed run is the same run.

There is no data loader and no generator whose state a checkpoint could miss. Only the standard
library: ``random.Random`` seeded by a string is the same on every machine and Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .recipe import Stage

TIMESTEPS = 1000


@dataclass(frozen=True)
class Sample:
    """One (item, frame, timestep, noise) draw of one source."""

    source: int  # index into stage.sources
    item: int  # index into that source's set
    frame: float  # 0..1, which frame to freeze or to start at; scaled by the item's length
    timestep: int  # 0..TIMESTEPS-1
    noise_seed: int


def training_sample(seed: int, stage_index: int, stage: Stage, sizes: list[int], n: int) -> Sample:
    """The n-th sample of a stage. sizes: number of items of each source's set."""
    cycle = [i for i, source in enumerate(stage.sources) for _ in range(source.weight)]
    source = cycle[n % len(cycle)]
    # How many samples of this source came before: its items are shuffled anew each round.
    drawn = n // len(cycle) * stage.sources[source].weight + cycle[: n % len(cycle)].count(source)
    round_number, position = divmod(drawn, sizes[source])
    order = list(range(sizes[source]))
    Random(f"order/{seed}/{stage_index}/{source}/{round_number}").shuffle(order)
    dice = Random(f"sample/{seed}/{stage_index}/{n}")
    return Sample(
        source, order[position], dice.random(), dice.randrange(TIMESTEPS), dice.getrandbits(63)
    )


def held_out_samples(seed: int, stage_index: int, sizes: list[int], count: int) -> list[Sample]:
    """Fixed draws for a loss that is comparable over a run: timesteps spread evenly."""
    samples = []
    for k in range(count):
        dice = Random(f"held-out/{seed}/{stage_index}/{k}")
        source = k % len(sizes)
        timestep = int((k + 0.5) / count * TIMESTEPS)
        samples.append(
            Sample(
                source,
                dice.randrange(sizes[source]),
                dice.random(),
                timestep,
                dice.getrandbits(63),
            )
        )
    return samples
