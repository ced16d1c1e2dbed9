"""Random numbers: torch's CUDA generator keeps seed and offset, a CPU one for that place draws.

What is drawn is a function of (seed, offset), as on a card, so states that are saved and restored
repeat. The numbers are not a real card's; at offset 0 they are the CPU's of that seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_STEP = 4  # by which an offset grows; Philox makes four numbers at once
_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: neighbouring offsets get far seeds


@contextmanager
def drawn_by(generator: torch.Generator | None) -> Iterator[torch.Generator]:
    """A CPU generator in place of the card's (None: its default one), which moves on."""
    owner = generator if generator is not None else torch.cuda.default_generators[0]
    if owner.device.type != "cuda":
        raise RuntimeError(
            f"Expected a 'cuda' device type for generator but found '{owner.device.type}'"
        )
    state = owner.get_state()
    seed, offset = (int(number) for number in state.view(torch.int64)[:2])
    yield torch.Generator().manual_seed((seed + _MIX * offset) & 0x7FFFFFFFFFFFFFFF)
    state.view(torch.int64)[1] = offset + _STEP
    owner.set_state(state)


@contextmanager
def default_drawn_by_card() -> Iterator[None]:
    """The CPU's default generator draws for the card's, and is as it was afterwards."""
    with drawn_by(None) as generator:
        before = torch.get_rng_state()
        torch.set_rng_state(generator.get_state())
        try:
            yield
        finally:
            torch.set_rng_state(before)
