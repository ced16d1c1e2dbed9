"""An adapter's scale in one call of the UNet: one number, one a frame, or one a frame and place.

What differs from frame to frame is exact where it acts: each output of a layer for frame f gets the
scale of frame f. In temporal attention that is f's own query, key and value (and its row of the
output), so a frame at 0 asks and answers as the motion module would without the adapter.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ..frame_scales import FrameScales, Scale
from ..scale_schedule import ScaleSchedule
from .calls import Call


def progress_of(model: BaseModel, sigma: Tensor) -> float:
    """Where sampling is, as ControlNet's percentages count it: above 0 at the start, below 1."""
    sampling: Any = model.model_sampling
    timesteps = getattr(sampling, "num_timesteps", 1000)
    # Read once from the device, where each further question would wait for it.
    now = sampling.timestep(sigma.flatten()[:1].cpu())
    # The middle of a timestep: the last one, at 0, is still a part of sampling.
    return 1.0 - (float(now) + 0.5) / timesteps


class CallScale:
    """An adapter's scale in one call of the UNet.

    values: () for all frames, or (frames,); on the device. All are tensors, because a number would
    be compiled into the network anew when it changes.
    """

    def __init__(self, values: Tensor, call: Call) -> None:
        self.values = values
        self.clips = call.clips
        self.batch = call.clips * call.frames

    def on_images(self, change: Tensor) -> Tensor:
        """What an adapter adds behind an image layer, scaled; change: (clips * frames, ...).

        Other packs cut pictures into tiles for a layer: then each has its frame's scale.
        """
        if not self.values.ndim:
            return self.values * change
        rows = self.values.repeat(self.clips).repeat_interleave(len(change) // self.batch)
        return rows.to(change.dtype).view(-1, *[1] * (change.ndim - 1)) * change

    def on_tracks(self, change: Tensor) -> Tensor:
        """The same behind a temporal layer; change: (clips * pixels, frames, channels)."""
        if not self.values.ndim:
            return self.values * change
        return self.values.to(change.dtype)[:, None] * change


def scale_of_call(scale: Scale, call: Call) -> CallScale | None:
    """An adapter's scale in a call; None where it is 0 for every frame."""
    now: float | list[float] = scale if isinstance(scale, float | int) else 0.0
    if isinstance(scale, FrameScales | ScaleSchedule):
        progress = progress_of(call.base, call.sigmas)
        if isinstance(scale, ScaleSchedule):
            now = scale.at(progress)
        else:
            now = scale.at(progress, call.indexes, call.total)
    values = torch.tensor(now, dtype=torch.float32)
    return CallScale(values.to(call.sigmas.device), call) if values.any() else None
