"""Ground truth from pixels: where the shape is, what it is, and how true the picture is.

Every frame is compared with every rendering of the world at every position (steps of a quarter
pixel, by correlation); no judge model is involved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .world import BASE_LOOKS, LOOKS, SHAPES, SIZE, SUBJECTS, Scene, all_scenes, render

_SUBSTEPS = 4  # positions per pixel and axis
_PAD = 5  # around the stage: more than a shape's reach, so that nothing wraps around
_CANVAS = SIZE + 2 * _PAD
_BEYOND = 1  # pixels that a shape's centre may lie off the stage
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
    frame_accuracy: float  # share of the frames that show the asked scene, gaze and look included
    fidelity: float  # 1: pixel-exact rendering of the prompt; 0: as far as the other looks are,
    # or, for a subject and inside its outline, as far as the other shapes are

    @property
    def correct(self) -> bool:
        """The asked shape in the asked colour moves in the asked direction."""
        return self.colour and self.shape and self.direction


def measure(frames: Tensor, scene: Scene) -> Measures:
    """Measure one clip.

    frames: (frames, 3, SIZE, SIZE) in 0..1; scene: what was asked for.
    """
    shapes = (*SHAPES, scene.shape) if scene.shape in SUBJECTS else SHAPES
    scenes = all_scenes((scene.look,), shapes)
    number = scenes.index(scene)
    distances, positions = match(frames, scene.look, shapes=shapes)
    seen = scenes[int(distances.mean(0).argmin())]
    best = distances.argmin(1)
    velocity, jitter = straight_line(positions[torch.arange(len(frames)), best])
    speed = float(velocity.norm())
    cosine = float(velocity @ scene.velocity) / max(speed, 1e-9)
    # The scene's number is the same in every look.
    errors = {
        look: distances[:, number]
        if look == scene.look
        else match(frames, look, [number], shapes)[0][:, 0]
        for look in LOOKS
    }
    in_look = {look: error.mean() for look, error in errors.items()}
    nearest = torch.stack([errors[look] for look in LOOKS]).argmin(0)
    shown = (best == number) & (nearest == list(LOOKS).index(scene.look))
    if scene.shape in SUBJECTS:
        fidelity = _subject_fidelity(frames, scene, positions[torch.arange(len(frames)), best])
    else:
        fidelity = 1 - float(distances[:, number].sqrt().mean()) / _look_distance(scene)
    return Measures(
        motion=speed,
        jitter=jitter,
        frame_difference=float((frames[1:] - frames[:-1]).abs().mean()),
        colour=seen.colour == scene.colour,
        shape=seen.shape == scene.shape,
        direction=speed > _MOVING and cosine > math.cos(math.pi / 4),
        look=min(in_look, key=lambda look: float(in_look[look])) == scene.look,
        frame_accuracy=float(shown.float().mean()),
        fidelity=fidelity,
    )


def match(
    frames: Tensor,
    look: str,
    numbers: Sequence[int] | None = None,
    shapes: tuple[str, ...] = SHAPES,
) -> tuple[Tensor, Tensor]:
    """Squared error to scenes of a look at their best position, and that position.

    frames: (n, 3, SIZE, SIZE); numbers: of ``all_scenes((look,), shapes)``, all when None.
    Returns (n, scenes) mean squared errors and (n, scenes, 2) positions as x, y in pixels.
    A rendering is the background b everywhere but in the shape, where it is t, so its error is
    sum (f - b)^2 plus, over the shape, sum (t - b)^2 - 2 (f - b)(t - b): two correlations, in
    which what lies off the stage counts nothing.
    """
    background = torch.tensor(LOOKS[look].background)[:, None, None]
    difference = frames - background
    shape, energy = _templates(look, shapes)  # spectra: (scenes, sub, 3, ...), (scenes, sub, ...)
    if numbers is not None:
        shape, energy = shape[list(numbers)], energy[list(numbers)]
    stage = F.pad(torch.ones(SIZE, SIZE), (_PAD,) * 4)
    padded = F.pad(difference, (_PAD,) * 4)
    overlap = torch.einsum("nchw,kschw->nkshw", torch.fft.rfft2(padded), shape.conj())
    inside = torch.fft.rfft2(stage) * energy.conj()
    spectrum = inside[None] - 2 * overlap
    error = torch.fft.irfft2(spectrum, s=(_CANVAS, _CANVAS))  # (n, scenes, sub, y, x)
    keep = slice(_PAD - _BEYOND, _PAD + SIZE + _BEYOND)
    error = error[..., keep, keep] + difference.square().sum((1, 2, 3))[:, None, None, None, None]
    width = error.shape[-1]
    best = error.flatten(2).min(2)
    sub, pixel = best.indices // width**2, best.indices % width**2
    x = pixel % width - _BEYOND + (sub % _SUBSTEPS) / _SUBSTEPS
    y = pixel // width - _BEYOND + (sub // _SUBSTEPS) / _SUBSTEPS
    return best.values.clamp(min=0) / (3 * SIZE**2), torch.stack([x, y], -1)


@lru_cache
def _templates(look: str, shapes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Spectra of every scene at every substep: the shape less the background, and its energy."""
    axis = torch.arange(_SUBSTEPS) / _SUBSTEPS
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    centre = _CANVAS // 2
    positions = torch.stack([x.flatten(), y.flatten()], -1) + centre
    images = torch.stack([render(s, positions, _CANVAS) for s in all_scenes((look,), shapes)])
    shape = images - torch.tensor(LOOKS[look].background)[:, None, None]
    # Rolled so that a shift of zero means a centre at the canvas's corner.
    shape = shape.roll((-centre, -centre), dims=(-2, -1))
    return torch.fft.rfft2(shape), torch.fft.rfft2(shape.square().sum(2))


@lru_cache
def _look_distance(scene: Scene) -> float:
    """RMS distance of the scene's rendering from the same scene in the world's other looks."""
    centre = torch.tensor([[SIZE / 2, SIZE / 2]])
    here = render(scene, centre)
    others = [render(scene._replace(look=o), centre) for o in BASE_LOOKS if o != scene.look]
    return sum(float((here - o).square().mean().sqrt()) for o in others) / len(others)


def _subject_fidelity(frames: Tensor, scene: Scene, positions: Tensor) -> float:
    """Fidelity inside the subject's outline. positions: (frames, 2), where the shape is.

    What surrounds a subject is not what its pictures taught.
    """
    steps = torch.linspace(-0.5, 0.5, 5) / _SUBSTEPS  # a small thing shows a quarter of a pixel
    nudges = torch.cartesian_prod(steps, steps)[:, None]
    truth = render(scene, positions + nudges)  # (nudges, frames, 3, h, w)
    background = torch.tensor(LOOKS[scene.look].background)[:, None, None]
    outline = (truth - background).abs().amax(-3, keepdim=True) > 0.02

    def distance(images: Tensor) -> float:
        error = ((images - truth).square() * outline).sum((-3, -2, -1))
        mean = error / (3 * outline.sum((-3, -2, -1)).clamp(min=1))
        return float(mean.sqrt().amin(0).mean())

    others = [distance(render(scene._replace(shape=s), positions)) for s in SHAPES]
    return 1 - distance(frames) * len(others) / sum(others)


def straight_line(path: Tensor) -> tuple[Tensor, float]:
    """Least-squares velocity (2,) in px per frame of a path (frames, 2), and the RMS distance."""
    time = torch.arange(len(path), dtype=path.dtype) - (len(path) - 1) / 2
    centred = path - path.mean(0)
    velocity = (time[:, None] * centred).sum(0) / time.square().sum()
    residual = centred - time[:, None] * velocity
    return velocity, float(residual.square().sum(1).mean().sqrt())
