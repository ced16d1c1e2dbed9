"""The shapes world as ground for the fidelity benchmark: every frame has its rendered truth."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...demo import world
from ...demo.data import write_natural_clips, write_stills
from ...demo.evaluate import Network, sample_stills
from ...demo.measure import measure
from ...demo.run import PRESET
from ...demo.train_world import customization_stills, customize
from ...training.recipes.presets import PRESETS
from ...training.sets.encoders import Encoder, ShapesEncoder
from ...worlds.layout import FACTOR
from ...worlds.shapes.files import BASE, CUSTOMIZED, MOTION_ADAPTER, MOTION_MODULE, WEIGHTS
from .methods import Size

STYLES, SUBJECTS = "styles", "subjects"
_TWO = (world.STYLES[0], world.SUBJECTS[0])
_NUMBERS = PRESETS["spatial"][PRESET]
_SHIPPED_STEPS = 500  # of the customized checkpoint that comes with the world


class ShapesGround:
    """See ``Ground``."""

    title, command = "the shapes world", "make fidelity"
    full = Size((*world.STYLES, *world.SUBJECTS), _TWO, _NUMBERS)
    quick = Size(_TWO, _TWO, _NUMBERS, 2, 1, 2, (1, 2), 1, 1, 4, 4, 1)
    kinds: tuple[str, ...] = (STYLES, SUBJECTS)
    titles: Mapping[str, str] = {
        "fidelity": "fidelity",
        "frame_accuracy": "right prompt, per frame",
        "motion": "motion, px per frame",
        "moving_fidelity": "fidelity in motion",
    }
    base, motion_module = WEIGHTS / BASE, WEIGHTS / MOTION_MODULE
    motion_adapter = WEIGHTS / MOTION_ADAPTER
    pixels, side, zoom, frames = FACTOR * world.SIZE, world.SIZE, 6, world.FRAMES

    def __init__(self, device: torch.device):
        self.device = device

    def scenes(self, token: str) -> list[Any]:
        return _mixed(world.customized_scenes(token))

    def plain_scenes(self) -> list[Any]:
        return _mixed(world.all_scenes())

    def customize(self, token: str, path: Path, steps: int) -> None:
        if token == world.STYLE_TOKEN and steps == _SHIPPED_STEPS:
            shutil.copyfile(WEIGHTS / CUSTOMIZED, path)  # made by the same lines
        else:
            customize(path, token, self.device, steps)

    def few(self, token: str) -> tuple[Tensor, list[Any]]:
        stills, scenes = customization_stills(token, torch.Generator().manual_seed(2), shifts=6)
        return stills, [*scenes]

    def stills(self, checkpoint: Path, scenes: Sequence[Any], seed: int) -> Tensor:
        return sample_stills(checkpoint, scenes, seed, self.device)

    def write_stills(self, folder: Path, stills: Tensor, scenes: Sequence[Any]) -> Path:
        return write_stills(folder, stills, scenes)

    def write_natural(self, folder: Path, count: int) -> Path:
        return write_natural_clips(folder, count, seed=10)

    def encoder(self) -> Encoder:
        return ShapesEncoder()

    def network(self, checkpoint: Path, **adapters: Path | None) -> Network:
        return Network(checkpoint, self.device, **adapters)

    def clips(self, network: Network, scenes: Sequence[Any], seeds: Sequence[int]) -> Tensor:
        return network.frames([scene.prompt for scene in scenes], seeds)

    def measured(self, frames: Tensor, scene: Any) -> dict[str, Any]:
        return asdict(measure(frames, scene))

    def kind(self, row: Mapping[str, Any]) -> str:
        return SUBJECTS if row["token"] in world.SUBJECTS else STYLES

    def in_motion(self, measures: Mapping[str, Any]) -> float:
        return measures["fidelity"] * min(1.0, measures["motion"] / world.SPEED[0])


def _mixed(scenes: Sequence[world.Scene]) -> list[Any]:
    return [*world.spread(scenes, len(scenes))]
