"""What the motion benchmark shows to the methods, asks of them, and sees in their clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...demo import world
from ...demo.data import write_clips
from ...demo.measure import match
from ...demo.reference import SCENE, match_in_any_phase, reference_clip, shown_at, trajectory_match
from ...demo.shipped_clips import COLOURS, LOOKS
from ...demo.world import Scene

# What the reference clips show; nothing that is asked for has any of it.
SHOWN = {"colour": COLOURS, "shape": ("circle",), "look": LOOKS}
PROMPTED = {"colour": ("blue", "yellow"), "shape": ("square", "triangle"), "look": ("sand", "fog")}


def write_reference(folder: Path, motion: str) -> Path:
    """The one clip of Customize-A-Video and VMC."""
    return write_clips(folder, [reference_clip(motion).frames], [SCENE.prompt])


def prompted_scenes() -> list[Scene]:
    return [
        Scene(colour, shape, "right", look)
        for look in PROMPTED["look"]
        for shape in PROMPTED["shape"]
        for colour in PROMPTED["colour"]
    ]


def rendered(scene: Scene, motion: str, off: float, seed: int) -> Tensor:
    """A clip of the motion as the world shows it: (frames, 3, SIZE, SIZE).

    off: px by which each frame misses its place, a standard deviation an axis.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = shown_at(motion, torch.rand(2, generator=generator).tolist())
    positions = positions + off * torch.randn(positions.shape, generator=generator)
    return world.footage(world.render(scene, positions))


def observe(frames: Tensor, scene: Scene, motion: str) -> dict[str, Any]:
    """What a clip shows. frames: (frames, 3, SIZE, SIZE) in 0..1.

    trajectory_match: 1 - RMS(path - reference) / RMS(reference), both around their own centre: 1
    is the reference's motion anywhere on the stage, 0 as far from it as a clip that stands still.
    any_phase: the same begun at the reference's best frame.
    thing: the colour and shape asked for; background: the look asked for. leakage: the share of
    the three that the reference clips show instead. speed: mean length of a step, px per frame.
    ghost: what stands still where the shape never is, as ``ghost_of`` has it.
    """
    seen, path = find(frames)
    parts = ("colour", "shape", "look")
    return {
        "trajectory_match": trajectory_match(path, motion),
        "any_phase": match_in_any_phase(path, motion),
        "thing": float((seen.colour, seen.shape) == (scene.colour, scene.shape)),
        "background": float(seen.look == scene.look),
        "leakage": sum(getattr(seen, p) in SHOWN[p] for p in parts) / len(parts),
        "ghost": ghost_of(frames, scene, path),
        "speed": float((path[1:] - path[:-1]).norm(dim=1).mean()),
        "path": [[round(float(v), 2) for v in point] for point in path],
    }


def find(frames: Tensor) -> tuple[Scene, Tensor]:
    """The scene of the base world that is nearest over the whole clip, and (frames, 2) where."""
    best: tuple[float, Scene, Tensor] | None = None
    for look in world.BASE_LOOKS:
        errors, positions = match(frames, look)
        scenes = world.all_scenes((look,))
        number = int(errors.mean(0).argmin())
        error = float(errors[:, number].mean())
        if best is None or error < best[0]:
            nearest = positions[torch.arange(len(frames)), errors.argmin(1)]
            best = error, scenes[number], nearest
    assert best is not None
    return best[1], best[2]


def ghost_of(frames: Tensor, scene: Scene, path: Tensor) -> float:
    """What stands still where the shape never is: 0 for an even ground of whatever colour.

    Deviation of the mean of all frames from its own mean colour, RMS in 0..1, over the pixels that
    the scene asked for, rendered where the shape is found, never covers. path: (frames, 2).
    """
    background = torch.tensor(world.LOOKS[scene.look].background)[:, None, None]
    away = (world.render(scene, path) - background).abs().amax((0, 1)) < 0.02
    ground = frames.mean(0)[:, away]  # (3, pixels)
    return float(ground.std(1, unbiased=False).square().mean().sqrt()) if away.any() else 0.0
