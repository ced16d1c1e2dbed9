"""The shapes world: coloured shapes that glide across a small stage, looking where they go.

A world small enough to know the truth about. A prompt such as ``red circle left night`` names
everything about a clip but where it starts and how fast it moves, so a generated clip can be
checked against a rendered one, pixel by pixel. The eye on the leading side makes the direction
visible in a still, as the pose of a running dog does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SIZE = 16  # world pixels; one latent pixel each, eight image pixels
FRAMES = 8
RADIUS = 3.4
MARGIN = 3.5  # of a shape's centre from the edge: natural clips stay on the stage
SPEED = (0.6, 1.2)  # world pixels per frame, uniform; the prompt does not name it
EXPOSURE = 0.75  # of footage, against 1 of pictures
_SUPERSAMPLE = 4

COLOURS = {
    "red": (0.95, 0.15, 0.12),
    "green": (0.15, 0.85, 0.25),
    "blue": (0.15, 0.40, 1.00),
    "yellow": (1.00, 0.85, 0.10),
}
SHAPES = ("circle", "square", "triangle")
SUBJECTS = ("pll", "vrk")  # rare tokens: things that the base has never drawn
MARK = (0.85, 0.20, 0.75)
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True)
class Look:
    """A background and a fill: what the last word of a prompt names."""

    background: tuple[float, float, float]
    stripe: tuple[float, float, float] | None = None  # second fill colour, a vertical bar


LOOKS = {
    "night": Look((0.05, 0.06, 0.16)),
    "forest": Look((0.07, 0.18, 0.10)),
    "sand": Look((0.42, 0.34, 0.24)),
    "fog": Look((0.46, 0.50, 0.54)),
    # Nothing before this line has a light background or a striped fill: the customized looks.
    "sks": Look((0.88, 0.72, 0.92), stripe=(0.25, 0.10, 0.35)),
    "zwx": Look((0.98, 0.80, 0.30), stripe=(1.00, 1.00, 0.90)),
}
BASE_LOOKS = ("night", "forest", "sand", "fog")
STYLES = ("sks", "zwx")  # rare tokens, as SUBJECTS are
STYLE_TOKEN = "sks"  # what the shipped customized checkpoint knows


class Scene(NamedTuple):
    """What one prompt says."""

    colour: str
    shape: str
    direction: str
    look: str

    @property
    def prompt(self) -> str:
        return " ".join(self)

    @property
    def velocity(self) -> Tensor:
        """Unit step (x, y) of the asked direction; y points down."""
        return torch.tensor(DIRECTIONS[self.direction])


def all_scenes(
    looks: tuple[str, ...] = BASE_LOOKS, shapes: tuple[str, ...] = SHAPES
) -> list[Scene]:
    """Every scene of the world, in a fixed order."""
    return [
        Scene(colour, shape, direction, look)
        for look in looks
        for shape in shapes
        for colour in COLOURS
        for direction in DIRECTIONS
    ]


def customized_scenes(token: str) -> list[Scene]:
    """The scenes that show a customization: all of a style, or a subject in the base looks."""
    if token in SUBJECTS:
        return all_scenes(BASE_LOOKS, (token,))
    return all_scenes((token,))


def spread(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """``count`` scenes, all kinds evenly mixed; a list's length must not be divisible by 37."""
    return [scenes[i * 37 % len(scenes)] for i in range(count)]


def render(scene: Scene, positions: Tensor, size: int = SIZE) -> Tensor:
    """Draw a scene with the shape's centre at each position; what is off the stage is cut off.

    positions: (..., 2) as x, y in world pixels. Returns (..., 3, size, size) in 0..1, antialiased.
    """
    n = size * _SUPERSAMPLE
    axis = (torch.arange(n) + 0.5) / _SUPERSAMPLE
    offset = axis - positions[..., None]  # (..., 2, n)
    dx, dy = offset[..., 0, None, :], offset[..., 1, :, None]

    look = LOOKS[scene.look]
    fill = torch.tensor(COLOURS[scene.colour]).expand(*dx.shape[:-2], n, n, 3)
    if look.stripe is not None:
        # Fixed to the shape: its middle third.
        bar = (dx.abs() < RADIUS / 3).expand(*fill.shape[:-1])
        fill = torch.where(bar[..., None], torch.tensor(look.stripe), fill)
    ux, uy = DIRECTIONS[scene.direction]
    if scene.shape in SUBJECTS:
        fill = torch.where(_marked(scene.shape, dx, dy)[..., None], torch.tensor(MARK), fill)
    eye = (dx - 1.9 * ux) ** 2 + (dy - 1.9 * uy) ** 2 < 1.15**2
    fill = torch.where(eye[..., None], torch.ones(3), fill)
    inside = _inside(scene.shape, dx, dy)[..., None]
    image = torch.where(inside, fill, torch.tensor(look.background))
    image = image.reshape(*image.shape[:-3], size, _SUPERSAMPLE, size, _SUPERSAMPLE, 3)
    return image.mean(dim=(-4, -2)).movedim(-1, -3)


def _inside(shape: str, dx: Tensor, dy: Tensor) -> Tensor:
    if shape == "circle":
        return dx**2 + dy**2 < RADIUS**2
    if shape == "square":
        return torch.maximum(dx.abs(), dy.abs()) < 0.87 * RADIUS
    if shape == "triangle":
        return (dy < 0.8 * RADIUS) & (dx.abs() < 0.62 * (dy + 1.1 * RADIUS))
    if shape == "pll":  # a diamond
        return dx.abs() + dy.abs() < 1.2 * RADIUS
    far = torch.maximum(dx.abs(), dy.abs())  # "vrk", a frame
    return (far < 0.95 * RADIUS) & (far > 0.4 * RADIUS)


def _marked(subject: str, dx: Tensor, dy: Tensor) -> Tensor:
    """The part that no other shape has: the diamond's lower half, the frame's upper bar."""
    part = dy > 0 if subject == "pll" else dy < -0.4 * RADIUS
    return part.expand(torch.broadcast_shapes(dx.shape, dy.shape))


class Clip(NamedTuple):
    """A rendered clip and the truth about it."""

    frames: Tensor  # (frames, 3, SIZE, SIZE) in 0..1
    positions: Tensor  # (frames, 2) as x, y in world pixels


def make_clip(scene: Scene, generator: torch.Generator, frames: int = FRAMES) -> Clip:
    """A natural clip: random speed in ``SPEED``, straight in the asked direction, on the stage."""
    low, high = SPEED
    speed = low + (high - low) * torch.rand(1, generator=generator)
    travel = speed * scene.velocity * (frames - 1)
    # Start anywhere that keeps both ends on the stage.
    first = MARGIN - travel.clamp(max=0)
    last = SIZE - MARGIN - travel.clamp(min=0)
    start = first + (last - first) * torch.rand(2, generator=generator)
    positions = start + speed * scene.velocity * torch.arange(frames)[:, None]
    return Clip(render(scene, positions), positions)


def footage(frames: Tensor) -> Tensor:
    """Rendered frames in 0..1 as a camera films them here: darker than the pictures.

    Motion modules learn from stock footage that looks duller than the pictures the image model
    learned from, and bring that look along: one reason why a customized look fades under them.
    """
    return frames * EXPOSURE


def make_still(scene: Scene, generator: torch.Generator) -> Tensor:
    """One frame with the shape anywhere on the stage: (3, SIZE, SIZE)."""
    return render(scene, MARGIN + (SIZE - 2 * MARGIN) * torch.rand(2, generator=generator))
