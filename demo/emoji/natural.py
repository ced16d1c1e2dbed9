"""The emoji world's input as an artist would have it: folders of clips, and what reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...adapters.files.tensors import file_hash
from ...worlds.known import EMOJI
from ...worlds.layout import FACTOR
from ..data import write_clips
from .pictures import Emoji, random_place
from .subjects import BACKGROUNDS, FRAMES, SUBJECTS, Scene
from .vae import encode, load_vae, on_device

_STEP = 37  # through the subjects, so that few clips show all kinds
_AT_ONCE = 8  # frames


class EmojiEncoder:
    """The world's VAE and words; see ``Encoder``."""

    factor = FACTOR

    def __init__(self, vae: Path, device: torch.device):
        self._vae, self._device = on_device(load_vae(vae), device), device
        self.id = f"emoji-{file_hash(vae)[:16]}"

    def encode_frames(self, frames: Tensor) -> Tensor:
        parts = (encode(self._vae, part.to(self._device)) for part in frames.split(_AT_ONCE))
        return torch.cat([part.float().cpu() for part in parts])

    def encode_prompt(self, text: str) -> Tensor:
        return EMOJI.words.encode(text)


def natural_scenes(count: int) -> list[Scene]:
    """Prompts of the "3d" look, all kinds of subjects mixed."""
    behind = list(BACKGROUNDS)
    return [
        Scene(SUBJECTS[i * _STEP % len(SUBJECTS)], "3d", behind[i % len(behind)])
        for i in range(count)
    ]


def write_natural_clips(folder: Path, emoji: Emoji, count: int, seed: int) -> Path:
    """The "3d" look in motion, with captions."""
    generator = torch.Generator().manual_seed(seed)
    scenes = natural_scenes(count)
    clips = [emoji.clip(scene, random_place(generator))[:FRAMES] for scene in scenes]
    return write_clips(folder, clips, [scene.prompt for scene in scenes], factor=1)
