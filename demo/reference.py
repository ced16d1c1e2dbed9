"""Motions that the shapes world's network has never seen, as the reference clips that teach them.

The base knows straight lines at an even speed. These clips turn, bend and pause; their prompts
still say "right", as an artist's caption says what comes nearest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import world
from .world import Clip, Scene

SPEED = 1.2  # world pixels per frame: the fastest that the base knows
TURN = 1.5  # radius of the circle, world pixels
WORST = -1.0  # trajectory match: where a shape was not found in every frame
SCENE = Scene("red", "circle", "right", "night")  # what the single reference clips show


def circle(frames: int = world.FRAMES) -> Tensor:
    """Once around, clockwise as seen: (frames, 2) as x, y in world pixels around 0."""
    angle = 2 * math.pi * torch.arange(frames) / frames
    return TURN * torch.stack([angle.sin(), -angle.cos()], 1)


def zigzag(frames: int = world.FRAMES) -> Tensor:
    """To the right, two frames up and two down by turns."""
    time = torch.arange(frames)
    height = (time % 4 - 2).abs()  # 2, 1, 0, 1, 2 ...
    return SPEED * math.sqrt(0.5) * torch.stack([time, height], 1)


def stop_and_go(frames: int = world.FRAMES) -> Tensor:
    """To the right, and still for three frames in the middle."""
    step = torch.ones(frames - 1)
    middle = (frames - 1) // 2
    step[middle - 1 : middle + 2] = 0
    x = torch.cat([torch.zeros(1), SPEED * step.cumsum(0)])
    return torch.stack([x, torch.zeros(frames)], 1)


def back(frames: int = world.FRAMES) -> Tensor:
    """To the right and back again: not a motion of the benchmark, which tunes its numbers on it."""
    time = torch.arange(frames)
    x = SPEED * torch.minimum(time, frames - 1 - time)
    return torch.stack([x, torch.zeros(frames)], 1)


MOTIONS = {"circle": circle, "zigzag": zigzag, "stop-and-go": stop_and_go, "back": back}


def reference_clip(motion: str, scene: Scene = SCENE, place: Sequence[float] = (0.5, 0.5)) -> Clip:
    """A clip of a motion, as footage. place: where, each in 0..1 of what the stage leaves free."""
    positions = shown_at(motion, place)
    return Clip(world.footage(world.render(scene, positions)), positions)


def shown_at(motion: str, place: Sequence[float]) -> Tensor:
    """Where a motion goes: (frames, 2). place: each in 0..1 of what the stage leaves free."""
    path = MOTIONS[motion]()
    low, high = world.MARGIN - path.amin(0), world.SIZE - world.MARGIN - path.amax(0)
    return path + low + (high - low) * torch.tensor(place)


def trajectory_match(path: Tensor, motion: str) -> float:
    """How near a path comes to a motion, wherever on the stage it is.

    path: (frames, 2) as x, y in world pixels. 1 - RMS(path - motion) / RMS(motion), both around
    their own centre: 1 is the motion, 0 as far from it as standing still; ``WORST`` at least.
    """
    wanted = MOTIONS[motion](len(path))
    path, wanted = path - path.mean(0), wanted - wanted.mean(0)
    return max(WORST, float(1 - (path - wanted).norm() / wanted.norm()))


def match_in_any_phase(path: Tensor, motion: str) -> float:
    """The best match to the motion begun at any of its frames: prompts do not say where."""
    shifts = [path.roll(shift, 0) for shift in range(len(path))]
    return max(trajectory_match(shifted, motion) for shifted in shifts)
