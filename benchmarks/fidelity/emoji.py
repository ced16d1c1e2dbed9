"""The emoji world as ground for the fidelity benchmark: looks and subjects that it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...demo.data import write_stills
from ...demo.emoji.customize import customized_name, customized_scenes, write_customized
from ...demo.emoji.judge import Judge
from ...demo.emoji.natural import EmojiEncoder, natural_scenes, write_natural_clips
from ...demo.emoji.pictures import Emoji, random_place
from ...demo.emoji.subjects import (
    BACKGROUNDS,
    BASE_LOOKS,
    FRAMES,
    NEW_LOOKS,
    SIZE,
    SUBJECTS,
    TOKENS,
    Scene,
)
from ...demo.emoji.vae import decode, load_vae, on_device
from ...demo.network import MotionNetwork, still_latents
from ...training.recipes.presets import PRESETS
from ...training.sets.encoders import Encoder
from ...worlds.emoji.files import BASE, MOTION_ADAPTER, MOTION_MODULE, VAE
from .methods import Size

TAUGHT, OTHERS, SUBJECT = "looks", "looks, on other subjects", "subjects"
STEPS, CFG, STILLS_CFG = 12, 3.0, 3.0
_SLOWEST = 1 / 1.5  # of the truth's motion, that a clip may have
_VIEWS = 6  # of each still that customizes
_NAMES = {token: name for name, token in TOKENS.items()}
_TOKENS = tuple(_NAMES)
_TWO = (_TOKENS[0], _TOKENS[-1])
_NUMBERS = {**PRESETS["spatial"]["shapes world"], "frames": FRAMES}


class EmojiGround:
    """See ``Ground``. folder: as ``make emoji`` fills it; kept: for the features of the truth."""

    title, command = "the emoji world", "python benchmarks fidelity --emoji FOLDER"
    full = Size(_TOKENS, _TWO, _NUMBERS, lengths=(40, 160, 320), seeds=1, batch=1)
    quick = Size(_TWO, _TWO, _NUMBERS, 2, 1, 0, (1, 2), 1, 1, 4, 4, 1)
    kinds: tuple[str, ...] = (TAUGHT, OTHERS, SUBJECT)
    titles: Mapping[str, str] = {
        "fidelity": "fidelity",
        "flicker": "flicker",
        "frame_accuracy": "right subject and look, per frame",
        "motion": "motion, px per frame",
        "share": "motion, of its animation's",
        "likeness": "moves more like its own animation than so many others",
        "moving_fidelity": "fidelity in motion",
    }
    pixels, side, zoom, frames = SIZE, SIZE, 1, FRAMES

    def __init__(self, folder: Path, kept: Path, device: torch.device):
        self.drafts, self.device = folder / "drafts", device
        self.emoji = Emoji(folder / "emoji")
        self.base, self.motion_module = self.drafts / BASE, self.drafts / MOTION_MODULE
        self.motion_adapter = self.drafts / MOTION_ADAPTER
        self.vae = on_device(load_vae(self.drafts / VAE), device)
        self._kept, self._judge = kept, None

    @property
    def judge(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self.emoji, self._kept)
        return self._judge

    def scenes(self, token: str) -> list[Any]:
        return [*scenes_of(token)]

    def plain_scenes(self) -> list[Any]:
        return [*natural_scenes(len(SUBJECTS))]

    def customize(self, token: str, path: Path, steps: int) -> None:
        """By the LoRA that was trained with the world; steps are its own."""
        write_customized(path, self.base, self.drafts / customized_name(_NAMES[token]))

    def few(self, token: str) -> tuple[Tensor, list[Any]]:
        generator = torch.Generator().manual_seed(8)
        scenes = [scene for scene in customized_scenes(_NAMES[token]) for _ in range(_VIEWS)]
        stills = [self.emoji.still(scene, random_place(generator)) for scene in scenes]
        return torch.stack(stills), [*scenes]

    def stills(self, checkpoint: Path, scenes: Sequence[Any], seed: int) -> Tensor:
        prompts, seeds = [scene.prompt for scene in scenes], range(seed, seed + len(scenes))
        latents = still_latents(checkpoint, prompts, seeds, self.device, cfg=STILLS_CFG)
        return self._decoded(latents)

    def write_stills(self, folder: Path, stills: Tensor, scenes: Sequence[Any]) -> Path:
        return write_stills(folder, stills, scenes, factor=1)

    def write_natural(self, folder: Path, count: int) -> Path:
        return write_natural_clips(folder, self.emoji, count, seed=10)

    def encoder(self) -> Encoder:
        return EmojiEncoder(self.drafts / VAE, self.device)

    def network(self, checkpoint: Path, **adapters: Path | None) -> MotionNetwork:
        return MotionNetwork(checkpoint, self.motion_module, self.device, **adapters)

    def clips(self, network: MotionNetwork, scenes: Sequence[Any], seeds: Sequence[int]) -> Tensor:
        prompts = [scene.prompt for scene in scenes]
        latents = network.latents(prompts, seeds, STEPS, CFG).transpose(1, 2)
        return torch.stack([self._decoded(clip) for clip in latents])

    def _decoded(self, latents: Tensor) -> Tensor:
        parts = (decode(self.vae, part.to(self.device)).cpu() for part in latents.split(8))
        return torch.cat([*parts])

    def measured(self, frames: Tensor, scene: Any) -> dict[str, Any]:
        found = self.judge.seen(frames, scene)
        taught = any(s.subject == scene.subject for s in _taught(scene))
        return {**asdict(found), "taught": taught}

    def kind(self, row: Mapping[str, Any]) -> str:
        if _NAMES[row["token"]] not in NEW_LOOKS:
            return SUBJECT
        return TAUGHT if row["taught"] else OTHERS

    def in_motion(self, measures: Mapping[str, Any]) -> float:
        return measures["fidelity"] * min(1.0, measures["share"] / _SLOWEST)


def scenes_of(token: str) -> list[Scene]:
    """Of a look, subjects that taught it and others by turns."""
    name, behind = _NAMES[token], list(BACKGROUNDS)
    if name not in NEW_LOOKS:
        return [Scene(name, look, background) for background in behind for look in BASE_LOOKS]
    taught = [scene.subject for scene in customized_scenes(name)]
    others = [subject for subject in SUBJECTS if subject not in taught]
    pairs = zip(taught, others[:: len(others) // len(taught)], strict=False)
    mixed = [subject for pair in pairs for subject in pair]
    return [Scene(s, name, behind[i % len(behind)]) for i, s in enumerate(mixed)]


def _taught(scene: Scene) -> list[Scene]:
    return customized_scenes(scene.look) if scene.look in NEW_LOOKS else []
