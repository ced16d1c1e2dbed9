"""The clips that the pack ships: what the examples of motion from clips learn from.

They are rendered, so each can be made again; ``train_motions`` reads the same folders.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..worlds.shapes.files import CLIPS, NATURAL_CLIPS, ONE_CLIP, SEVERAL_CLIPS
from .data import write_clips, write_natural_clips
from .reference import SCENE, reference_clip
from .world import Scene

MOTION = "circle"
MOTION_WORD = "ohwx"  # the rare word that NewMove gives the motion
COUNT = 6  # clips of NewMove
COLOURS, LOOKS = ("red", "green"), ("night", "forest")  # of them; nothing else is shown
NATURAL = 16


def write_shipped_clips(out: Path = CLIPS) -> None:
    """All folders: one reference clip, several with the token, and ordinary motion."""
    write_clips(out / ONE_CLIP, [reference_clip(MOTION).frames], [SCENE.prompt])
    write_several(out / SEVERAL_CLIPS)
    write_natural_clips(out / NATURAL_CLIPS, NATURAL, seed=10)


def write_several(folder: Path, motion: str = MOTION, count: int = COUNT) -> Path:
    """A motion as NewMove learns it: in several colours and looks, anywhere on the stage."""
    generator = torch.Generator().manual_seed(3)
    scenes = [Scene(COLOURS[i % 2], "circle", "right", LOOKS[i // 2 % 2]) for i in range(count)]
    places = torch.rand(count, 2, generator=generator).tolist()
    clips = [reference_clip(motion, *which).frames for which in zip(scenes, places, strict=True)]
    return write_clips(folder, clips, [prompt_of(scene, MOTION_WORD) for scene in scenes])


def prompt_of(scene: Scene, motion: str) -> str:
    """A scene's prompt with another word for its motion."""
    return f"{scene.colour} {scene.shape} {motion} {scene.look}"
