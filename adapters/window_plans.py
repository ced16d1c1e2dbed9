"""Which frames of a long clip are seen together: windows that overlap, and start noise for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise


def uniform_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows spread evenly from the first frame to the last; neighbours share >= overlap."""
    if frames <= length:
        return [list(range(frames))]
    gaps = -(-(frames - length) // (length - overlap))
    starts = [i * (frames - length) // gaps for i in range(gaps + 1)]
    return [list(range(start, start + length)) for start in starts]


def looped_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows spread evenly over a circle, where the last frame is followed by the first."""
    if frames <= length:
        return [list(range(frames))]
    count = -(-frames // (length - overlap))
    starts = [i * frames // count for i in range(count)]
    return [[i % frames for i in range(start, start + length)] for start in starts]


SCHEDULES: dict[str, Callable[[int, int, int], list[list[int]]]] = {
    "uniform": uniform_windows,
    "looped": looped_windows,
}


def shuffled_noise(frames: int, length: int, overlap: int, seed: int) -> list[int]:
    """Which of the first window's noises each frame of a clip starts from.

    The local noise shuffle of FreeNoise (arXiv:2310.15169): frames that a window adds get,
    in another order, the noises of those that it leaves behind. So each uniform window holds every
    noise once, and windows that share their noise agree on what they draw.
    """
    order = list(range(min(frames, length)))
    draw = random.Random(seed)
    for before, after in pairwise(uniform_windows(frames, length, overlap)):
        left = order[before[0] : after[0]]
        draw.shuffle(left)
        order += left
    return order
