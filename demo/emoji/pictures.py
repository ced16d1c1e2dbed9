"""The emoji world's truth: any subject in any look before any background, still or in motion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor
from torch.nn import functional as F

from ...common import files
from .subjects import BACKGROUNDS, SIZE, Scene


@dataclass(frozen=True)
class Place:
    """Where a subject is. scale: of the picture's size; x, y: its centre, in pixels from the
    picture's; flipped: left to right."""

    scale: float = 0.8
    x: float = 0.0
    y: float = 0.0
    flipped: bool = False


MIDDLE = Place()
_SCALES = (0.7, 0.9)
_SHIFT = 6.0  # pixels; most, either way


def random_place(generator: torch.Generator) -> Place:
    scale, x, y, flipped = torch.rand(4, generator=generator).tolist()
    low, high = _SCALES
    shifts = (_SHIFT * (2 * x - 1), _SHIFT * (2 * y - 1))
    return Place(low + (high - low) * scale, *shifts, flipped < 0.5)


class Emoji:
    """A folder of stills and clips, as ``collect`` writes it. device: where they are placed."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        self.folder, self.device = folder, device
        # Clips are read once; all of them take 100 MB.
        self._read = lru_cache(maxsize=None)(self._file)

    def _file(self, name: str) -> Tensor:
        with files.opened(self.folder / name) as file, Image.open(file) as image:
            frames = [np.asarray(f.convert("RGBA")) for f in ImageSequence.Iterator(image)]
        return torch.from_numpy(np.stack(frames)).movedim(-1, 1).to(self.device)

    def still(self, scene: Scene, place: Place = MIDDLE) -> Tensor:
        """(3, SIZE, SIZE) in 0..1."""
        frames = self._read(f"stills/{scene.look}/{scene.subject}.webp")
        return placed(frames, scene.background, place)[0]

    def clip(self, scene: Scene, place: Place = MIDDLE) -> Tensor:
        """The "3d" look in motion: (frames, 3, SIZE, SIZE) in 0..1."""
        return placed(self._read(f"clips/{scene.subject}.webp"), scene.background, place)

    def frame(self, scene: Scene, number: int, place: Place = MIDDLE) -> Tensor:
        """One frame of a clip: (3, SIZE, SIZE) in 0..1."""
        frames = self._read(f"clips/{scene.subject}.webp")
        number %= len(frames)
        return placed(frames[number : number + 1], scene.background, place)[0]


def placed(frames: Tensor, background: str, place: Place) -> Tensor:
    """Drawings (n, 4, h, w) in bytes before a background: (n, 3, SIZE, SIZE) in 0..1."""
    drawn = frames.float() / 255
    alpha = drawn[:, 3:]
    premultiplied = torch.cat([drawn[:, :3] * alpha, alpha], 1)
    side = -1.0 if place.flipped else 1.0
    to_drawing = drawn.new_tensor(
        [
            [side / place.scale, 0.0, -side * 2 * place.x / SIZE / place.scale],
            [0.0, 1 / place.scale, -2 * place.y / SIZE / place.scale],
        ]
    )
    shape = [len(frames), 4, SIZE, SIZE]
    grid = F.affine_grid(to_drawing.expand(len(frames), 2, 3), shape, align_corners=False)
    moved = F.grid_sample(premultiplied, grid, align_corners=False, mode="bicubic").clamp(0, 1)
    behind = drawn.new_tensor(BACKGROUNDS[background])[:, None, None]
    return (moved[:, :3] + (1 - moved[:, 3:]) * behind).clamp(0, 1)
