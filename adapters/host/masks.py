"""A mask in which an adapter acts, at the size of each layer of the UNet."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..frame_scales import Scale, simplest
from .calls import Call, entries

LEVELS = 4  # of the UNet, each half as wide and high as the one before


class Mask:
    """How much of an adapter acts where, 0 to 1.

    values: (count, height, width) of any size; stretched over the picture. Frame i has entry
    i % count, as it is with all that has fewer entries than the clip has frames.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().float().reshape(-1, *values.shape[-2:])
        self._fitted: tuple[tuple[tuple[int, int], torch.device], Tensor] | None = None

    def levels(self, call: Call) -> dict[int, Tensor]:
        """By how many places a level of the UNet has: (1 or frames, places), on the device.

        A place of a level has the mean of the mask under it, so that an edge is as sharp as the
        level is fine.
        """
        key = (call.size, call.sigmas.device)
        if self._fitted is None or self._fitted[0] != key:  # the pixels travel once, not each step
            with torch.inference_mode(False):
                self._fitted = key, _shrunk(self.values.to(call.sigmas.device), call.size)
        values, levels = entries(self._fitted[1], call.indexes), {}
        for _ in range(LEVELS):
            height, width = values.shape[-2:]
            levels[height * width] = values.flatten(1)
            values = _shrunk(values, (-(-height // 2), -(-width // 2)))
        return levels


def _shrunk(values: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(values[:, None], size, mode="area")[:, 0]


def where(mask: Tensor | None, scale: Scale) -> tuple[Scale, Mask | None]:
    """A scale and the mask in which it acts, in the form that costs least.

    mask: (height, width) or (count, height, width), None for everywhere. All ones are no mask, and
    all zeros the scale 0.
    """
    scale = simplest(scale)
    if mask is None or scale == 0 or bool((mask == 1).all()):
        return scale, None
    return (scale, Mask(mask)) if bool(mask.any()) else (0.0, None)
