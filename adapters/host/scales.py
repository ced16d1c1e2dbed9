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

from ...common.errors import UserError
from ..frame_scales import FrameScales, Scale
from ..scale_schedule import ScaleSchedule
from .calls import Call
from .masks import Mask


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

    values: () for all frames, or (frames,); on the device. maps: None, or by how many places a
    level of the UNet has, the scales there: (1 or frames, places). All are tensors, because a
    number would be compiled into the network anew when it changes.
    """

    def __init__(self, values: Tensor, call: Call, mask: Mask | None = None) -> None:
        self.values = values
        self.clips = call.clips
        self.views = call.views
        self.batch = call.clips * call.frames
        self.maps: dict[int, Tensor] | None = None
        if mask is not None:
            each = values[:, None] if values.ndim else values
            self.maps = {places: each * own for places, own in mask.levels(call).items()}

    def on_images(self, change: Tensor) -> Tensor:
        """What an adapter adds behind an image layer, scaled.

        change: (clips * frames, channels, height, width) or (clips * frames, places, channels).
        Other packs cut pictures into tiles for a layer: then each tile has its frame's scale.
        """
        if self.maps is not None:
            shape = change.shape[2:] if change.ndim == 4 else change.shape[1:2]
            rows = self._map(shape.numel(), len(change) // self.batch)
            if len(rows) > 1:
                rows = rows.repeat(self.clips, 1)
            rows = rows.view(-1, 1, *shape) if change.ndim == 4 else rows[..., None]
            return rows.to(change.dtype) * change
        if not self.values.ndim:
            return self.values * change
        rows = self.values.repeat(self.clips).repeat_interleave(len(change) // self.batch)
        return rows.to(change.dtype).view(-1, *[1] * (change.ndim - 1)) * change

    def on_tracks(self, change: Tensor) -> Tensor:
        """The same behind a temporal layer; change: (clips * places, frames, channels).

        In views: (clips * places * views, length, channels), each with the scales of its frames.
        """
        views = self.views
        if views is None or change.shape[1] != views.length:
            picks, count = None, 1
        else:
            picks, count = views.picks, len(views.picks)
        if self.maps is not None:
            tracks = self._map(len(change) // (self.clips * count)).T  # (places, 1 or frames)
        elif self.values.ndim:
            tracks = self.values[None]
        else:
            return self.values * change
        if tracks.shape[1] > 1 and picks is not None:
            tracks = tracks[:, picks].flatten(0, 1)  # (places * views, length)
        elif len(tracks) > 1:
            tracks = tracks.repeat_interleave(count, 0)
        tracks = tracks.repeat(len(change) // len(tracks), 1)
        return tracks[..., None].to(change.dtype) * change

    def _map(self, places: int, tiles: int = 1) -> Tensor:
        assert self.maps is not None
        if places in self.maps and tiles == 1:
            return self.maps[places]
        raise UserError(
            "mask", f"a layer of {tiles} x {places} places in the model",
            f"one of {', '.join(map(str, self.maps))}, the sizes of its levels",
            "Take off the node that changes the size inside the model, as HyperTile, Token Merging"
            " and Kohya Deep Shrink do, or the mask.",
        )  # fmt: skip  # file, found, expected, next move


def scale_of_call(scale: Scale, call: Call, mask: Mask | None = None) -> CallScale | None:
    """An adapter's scale in a call; None where it is 0 for every frame."""
    now: float | list[float] = scale if isinstance(scale, float | int) else 0.0
    if isinstance(scale, FrameScales | ScaleSchedule):
        progress = progress_of(call.base, call.sigmas)
        if isinstance(scale, ScaleSchedule):
            now = scale.at(progress)
        else:
            now = scale.at(progress, call.indexes, call.total)
    values = torch.tensor(now, dtype=torch.float32)
    return CallScale(values.to(call.sigmas.device), call, mask) if values.any() else None
