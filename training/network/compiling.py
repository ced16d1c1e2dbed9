"""torch.compile of the network's segments: tried where it can pay, kept where it does.

The run measures itself, because what compiling costs and gains differs from card to card. It is
never fatal: what fails in a compiled network is run again as it was written. On a CPU nothing is
compiled, so that a resumed run stays, bit for bit, the one that was not.
"""

from __future__ import annotations

import importlib.util
from collections import deque
from statistics import median

import torch

from .tiers import MemoryTiers

# Steps that a device is asked for before the first one's loss is read: a card never waits.
AHEAD = {"cuda": 1}
# What a trial has to be worth before it is made: an estimate, for no card was at hand. The gain
# is checked by the trial itself.
COST_S = 90.0
GAIN = 0.2  # of a step's time
WARM, TIMED = 3, 10  # steps that are not counted, and those that are
_ENOUGH = 0.97  # of the time without: a smaller gain is noise
_VARIANTS = 64  # shapes and scales of one segment, each compiled for itself


class CompileTrial:
    """Compares the pace of a run with that of the same run compiled, and chooses."""

    def __init__(self, tiers: MemoryTiers, device: torch.device):
        self.tiers = tiers
        self.open = can_compile(device)  # whether anything is left to find out
        self._times: deque[float] = deque(maxlen=TIMED)
        self._seen = 0
        self._before = 0.0

    def look(self, seconds: float, steps_left: int) -> None:
        """Take in the time of one more step, and compile or stop compiling where that is due."""
        if not self.open:
            return
        self._seen += 1
        self._times.append(seconds)
        if self._seen < WARM + TIMED:
            return
        pace, self._seen = median(self._times), 0
        self._times.clear()
        if self.tiers.compiled:
            self.open = False
            if pace > _ENOUGH * self._before:
                self.tiers.compile(False)
        elif pays(pace, steps_left):
            self._before = pace
            compile_segments(self.tiers)
        else:
            self.open = False

    def give_up(self) -> bool:
        """After an error: run as written from now on. False when nothing was compiled anyway."""
        self.open = False
        compiled = self.tiers.compiled
        if compiled:
            self.tiers.compile(False)
        return compiled


def pays(seconds_per_step: float, steps_left: int) -> bool:
    """Whether compiling can win back, in what is left of a run, the time that it takes."""
    return steps_left * seconds_per_step * GAIN > COST_S


def can_compile(device: torch.device) -> bool:
    """A card, and Triton, which PyTorch on Windows comes without."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def compile_segments(tiers: MemoryTiers, **options: object) -> None:
    """Compile, with room for every shape of a network, and nothing left of an earlier one.

    A Spatial Adapter is made of hooks, which the compiler does not look at unless it is told to:
    it would run what it compiled for a network without an adapter in place of one that has it.
    """
    import torch._dynamo.config as config

    torch._dynamo.reset()
    config.skip_nnmodule_hook_guards = False
    for name in ("recompile_limit", "cache_size_limit"):  # its new and its old name
        if hasattr(config, name):
            setattr(config, name, max(_VARIANTS, getattr(config, name)))
    tiers.compile(True, **options)
