"""A scale that changes while a clip is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..common.errors import UserError

Curve = Literal["linear", "smooth", "step"]
CURVES: tuple[Curve, ...] = ("linear", "smooth", "step")


@dataclass(frozen=True)
class ScaleSchedule:
    """Goes from `start` to `end` between two points of sampling (0..1), flat before and after.

    curve: linear; smooth (half a cosine); step (jumps halfway). Raises UserError unless
    0 <= start_percent <= end_percent <= 1.
    """

    start: float
    end: float
    curve: Curve = "linear"
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_percent <= self.end_percent <= 1:
            raise UserError(
                "Scale Schedule",
                f"start_percent {self.start_percent} and end_percent {self.end_percent}",
                "0 <= start_percent <= end_percent <= 1",
                "Move the start before the end.",
            )

    def at(self, progress: float) -> float:
        """The scale at a point of sampling: 0 is the first step, 1 the end."""
        span = self.end_percent - self.start_percent
        if span == 0:
            part = float(progress >= self.start_percent)
        else:
            part = min(max((progress - self.start_percent) / span, 0.0), 1.0)
        if self.curve == "smooth":
            part = 0.5 - 0.5 * math.cos(math.pi * part)
        elif self.curve == "step":
            part = float(part >= 0.5)
        return self.start + (self.end - self.start) * part


# By the name that the node shows. The numbers of all but "look late" are the pack's own, and what
# they do on the shapes world is measured (benchmarks/sliders); that one's are CustomCrafter's
# (arXiv:2408.13239): a subject's LoRA at 0.4 in the first 5 of 50 steps, then at 0.8, because a
# clip's motion is decided early and its details late.
PRESETS = {
    "motion first": ScaleSchedule(-0.5, 0.0, "linear", 0.2, 0.6),
    "calm surfaces": ScaleSchedule(0.0, 0.5, "linear", 0.5, 1.0),
    "look fades in": ScaleSchedule(0.0, 1.0, "linear", 0.1, 0.4),
    "look late": ScaleSchedule(0.4, 0.8, "step", 0.1, 0.1),
}
