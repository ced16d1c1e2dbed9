"""What optimizer steps did: numbers that are read when the device has got to them.

Asking a card for a number makes the host wait for everything that was asked before. So a step's
loss and gradient norm travel by themselves, and are looked at when the next step is on its way.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """What one optimizer step did."""

    step: int  # steps done, this one included
    loss: float
    loss_average: float
    grad_norm: float
    seconds: float
    tier: str
    skipped: bool  # a non-finite loss or gradient; nothing was changed


class Launched:
    """A step that the device is asked for; ``sent`` when all of it was.

    Made before the step changes anything: what memory it takes may be lacking.
    """

    def __init__(self, step: int, started: float, tier: str, losses: Tensor, grad_norm: Tensor):
        """losses: (samples,), each divided by their number; grad_norm: 0-dim; on the device."""
        self.step, self.started, self.tier = step, started, tier
        self._numbers = torch.cat([losses, grad_norm[None]])
        self._arrived: torch.cuda.Event | None = None
        if self._numbers.is_cuda:
            pinned = torch.empty(self._numbers.shape, dtype=self._numbers.dtype, pin_memory=True)
            self._numbers = pinned.copy_(self._numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()

    def sent(self) -> None:
        """Nothing more belongs to the step."""
        if self._arrived is not None:
            self._arrived.record()

    def wait(self) -> tuple[float, float]:
        """(loss, gradient norm), when they have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        *losses, grad_norm = self._numbers.tolist()
        return sum(losses, 0.0), grad_norm

    def seconds(self, last_read: float) -> float:
        """What it has taken, without the time in which the device was busy with the step before."""
        return time.perf_counter() - max(self.started, last_read)


def finite(losses: Tensor, grad_norm: Tensor) -> Tensor:
    """Whether a step may change anything: 0-dim, on the device, so that nobody has to wait."""
    return losses.isfinite().all() & grad_norm.isfinite()


def is_finite(loss: float, grad_norm: float) -> bool:
    """The same on the host, of the numbers that have arrived."""
    return math.isfinite(loss) and math.isfinite(grad_norm)
