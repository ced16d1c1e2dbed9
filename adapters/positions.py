"""The positions in time that AnimateDiff's temporal layers add to what they attend to."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(frames: int, channels: int) -> Tensor:
    """The plain sinusoid of AnimateDiff's files, sines on even channels: (frames, channels), fp32.

    Computed anew wherever it is needed, because files hold it rounded to fp16 or, AnimateLCM's, not
    at all.
    """
    time = torch.arange(frames, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    table = torch.stack([torch.sin(time * rate), torch.cos(time * rate)], -1)
    return table.reshape(frames, channels)
