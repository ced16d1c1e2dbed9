"""Ground truth from pixels: where the shape is, what it is, and how true the picture is.

Every frame is compared with every rendering of the world at every position (steps of a quarter
pixel, by circular correlation); no judge model is involved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .world import BASE_LOOKS, LOOKS, SIZE, Scene, all_scenes, render

_SUBSTEPS = 4  # positions per pixel and axis
_MOVING = 0.1  # px per frame; slower clips show no direction


@dataclass(frozen=True)
class Measures:
    """What one clip shows, against what its prompt asked for."""

    motion: float  # speed of the straight line through the positions, px per frame
    jitter: float  # distance of the positions from that line, RMS, px
    frame_difference: float  # mean absolute difference of consecutive frames, 0..1
    colour: bool
    shape: bool
    direction: bool
    look: bool
    fidelity: float  # 1: pixel-exact rendering of the prompt; 0: as far as the other looks are

    @property
    def correct(self) -> bool:
        """The asked shape in the asked colour moves in the asked direction."""
        return self.colour and self.shape and self.direction


def measure(frames: Tensor, scene: Scene) -> Measures:
    """Measure one clip.

    frames: (frames, 3, SIZE, SIZE) in 0..1; scene: what was asked for.
    """
    errors = {look: match(frames, look) for look in LOOKS}
    asked, positions = errors[scene.look]
    scenes = all_scenes((scene.look,))
    seen = scenes[int(asked.mean(0).argmin())]
    best = asked.argmin(1)
    path = unwrap(positions[torch.arange(len(frames)), best])
    velocity, jitter = straight_line(path)
    speed = float(velocity.norm())
    cosine = float(velocity @ scene.velocity) / max(speed, 1e-9)
    closest = min(errors, key=lambda look: float(errors[look][0].min(1).values.mean()))
    truth = asked[:, scenes.index(scene)]
    return Measures(
        motion=speed,
        jitter=jitter,
        frame_difference=float((frames[1:] - frames[:-1]).abs().mean()),
        colour=seen.colour == scene.colour,
        shape=seen.shape == scene.shape,
        direction=speed > _MOVING and cosine > math.cos(math.pi / 4),
        look=closest == scene.look,
        fidelity=1 - float(truth.sqrt().mean()) / _look_distance(scene),
    )


def match(frames: Tensor, look: str) -> tuple[Tensor, Tensor]:
    """Squared error to every scene of a look at its best position, and that position.

    frames: (n, 3, SIZE, SIZE). Returns (n, scenes) mean squared errors and (n, scenes, 2)
    positions as x, y in pixels.
    """
    templates, energy = _templates(look)  # (scenes, sub, 3, SIZE, SIZE//2+1), (scenes, sub)
    spectrum = torch.fft.rfft2(frames)
    product = torch.einsum("nchw,kschw->nkshw", spectrum, templates.conj())
    correlation = torch.fft.irfft2(product, s=(SIZE, SIZE))  # (n, scenes, sub, y, x)
    own = frames.square().sum((1, 2, 3))
    error = own[:, None, None, None, None] - 2 * correlation + energy[None, ..., None, None]
    best = error.flatten(2).min(2)
    sub, pixel = best.indices // SIZE**2, best.indices % SIZE**2
    x = pixel % SIZE + (sub % _SUBSTEPS) / _SUBSTEPS
    y = pixel // SIZE + (sub // _SUBSTEPS) / _SUBSTEPS
    return best.values.clamp(min=0) / (3 * SIZE**2), torch.stack([x, y], -1)


@lru_cache
def _templates(look: str) -> tuple[Tensor, Tensor]:
    axis = torch.arange(_SUBSTEPS) / _SUBSTEPS
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    positions = torch.stack([x.flatten(), y.flatten()], -1)
    images = torch.stack([render(scene, positions) for scene in all_scenes((look,))])
    return torch.fft.rfft2(images), images.square().sum((2, 3, 4))


@lru_cache
def _look_distance(scene: Scene) -> float:
    """RMS distance of the scene's rendering from the same scene in the world's other looks."""
    centre = torch.tensor([[SIZE / 2, SIZE / 2]])
    here = render(scene, centre)
    others = [render(scene._replace(look=o), centre) for o in BASE_LOOKS if o != scene.look]
    return sum(float((here - o).square().mean().sqrt()) for o in others) / len(others)


def unwrap(positions: Tensor) -> Tensor:
    """Positions (frames, 2) on the torus as one path: each step the shortest way around."""
    step = positions.diff(dim=0)
    step = (step + SIZE / 2) % SIZE - SIZE / 2
    return torch.cat([positions[:1], positions[:1] + step.cumsum(0)])


def straight_line(path: Tensor) -> tuple[Tensor, float]:
    """Least-squares velocity (2,) in px per frame of a path (frames, 2), and the RMS distance."""
    time = torch.arange(len(path), dtype=path.dtype) - (len(path) - 1) / 2
    centred = path - path.mean(0)
    velocity = (time[:, None] * centred).sum(0) / time.square().sum()
    residual = centred - time[:, None] * velocity
    return velocity, float(residual.square().sum(1).mean().sqrt())
