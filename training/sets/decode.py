"""Pillow and PyAV behind two calls: look through a file, and give some of its frames.

Whatever they raise on damaged bytes passes through; media.py turns it into a UserError.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from . import pictures, videos
from .probe import Probe
from .progress import Pulse


def survey(path: Path, is_video: bool, pulse: Pulse | None = None) -> Probe:
    """Decode everything once."""
    pulse = pulse or Pulse()
    return videos.survey(path, pulse) if is_video else pictures.survey(path, pulse)


def frames(
    path: Path, is_video: bool, picks: list[int], pulse: Pulse, changes: tuple[str, ...]
) -> Iterator[Tensor]:
    """The picked frames (indices never fall) as (3, H, W) uint8, as they are shown, on white.

    changes: of the file's Probe.
    """
    if is_video:
        decoded = videos.frames(path, picks, pulse, changes)
    else:
        decoded = pictures.frames(path, picks, pulse, changes)
    shape = None
    for frame in decoded:
        if shape not in (None, frame.shape):
            raise ValueError(f"the frame size changes from {shape} to {frame.shape}")
        shape = frame.shape
        yield torch.from_numpy(frame).permute(2, 0, 1).contiguous()
