"""Views: frames of a clip that temporal attention sees together, while the rest sees all of them.

The window-based attention fusion of FreeNoise (arXiv:2310.15169), AnimateDiff-Evolved's View
Options. Context windows run the whole network once a window, views only its temporal attention.
Norms over all frames, which v1 modules have, stay over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...common.errors import UserError
from ..window_plans import SCHEDULES

KEY = "still_moving.views"  # attachment: a ViewPlan


@dataclass(frozen=True)
class ViewPlan:
    """How long views are, and by which schedule of `window_plans` they cover a clip."""

    length: int
    overlap: int
    schedule: str


@dataclass(frozen=True)
class Views:
    """Views of a clip. picks: (views, length), the frames in each; blend: (frames, views * length).

    A frame is the mean of what the views say of it, by `blend`: least where it is at a view's end,
    because context is missing there; rows sum to 1.
    """

    picks: Tensor
    blend: Tensor

    @property
    def length(self) -> int:
        return self.picks.shape[1]

    def cut(self, x: Tensor) -> Tensor:
        """(rows, frames, channels) -> (rows * views, length, channels)."""
        return x[:, self.picks].flatten(0, 1)

    def joined(self, seen: Tensor) -> Tensor:
        """(rows * views, length, channels) -> (rows, frames, channels)."""
        rows = seen.reshape(-1, self.picks.numel(), seen.shape[-1])
        return self.blend.to(seen.dtype) @ rows


def views_of(model: ModelPatcher, frames: int, device: torch.device) -> Views | None:
    """The views of a MODEL for so many frames; None without, and where all fit into one."""
    plan = model.get_attachment(KEY)
    return None if plan is None or frames <= plan.length else planned(plan, frames, device)


@lru_cache(maxsize=8)  # made once, not in every step: each is a copy to the device
@torch.inference_mode(False)
def planned(plan: ViewPlan, frames: int, device: torch.device) -> Views:
    """The views that a plan makes of a longer clip."""
    picks = torch.tensor(SCHEDULES[plan.schedule](frames, plan.length, plan.overlap))
    ramp = torch.arange(1, plan.length + 1)
    weights = torch.minimum(ramp, ramp.flip(0)).float().repeat(len(picks))
    blend = torch.zeros(frames, picks.numel())
    blend[picks.flatten(), torch.arange(picks.numel())] = weights
    blend = blend / blend.sum(1, keepdim=True)
    return Views(picks.to(device), blend.to(device))


def apply_views(model: ModelPatcher, plan: ViewPlan, limit: int) -> ModelPatcher:
    """A clone whose motion module sees `plan.length` frames at a time; `limit`: the module's.

    Raises UserError if views could not advance, or are longer than the motion module allows.
    """
    if plan.overlap >= plan.length:
        raise UserError(
            "Motion Views", f"an overlap of {plan.overlap} frames",
            f"less than the length, {plan.length}",
            "Lower the overlap; a quarter of the length is usual.",
        )  # fmt: skip  # file, found, expected, next move
    if plan.length > limit:
        raise UserError(
            "Motion Views", f"a length of {plan.length} frames",
            f"{limit} or fewer, the limit of the motion module",
            "Lower the length; the clip itself can be longer.",
        )  # fmt: skip  # file, found, expected, next move
    viewing = model.clone()
    viewing.set_attachments(KEY, plan)
    return viewing
