"""The emoji world's training sets: what the networks read of stills and clips, encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from tqdm import tqdm

from ...adapters.files.tensors import read_tensors, write_tensors
from ...worlds.known import EMOJI
from ..optimize import CAPTION_DROPOUT
from .customize import customized_scenes
from .pictures import Emoji, random_place
from .subjects import BACKGROUNDS, BASE_LOOKS, FRAMES, SUBJECTS, Scene
from .vae import encode


@dataclass(frozen=True)
class Encoded:
    """latents: (n, ...), fp16; prompts: of each."""

    latents: Tensor
    prompts: tuple[str, ...]

    def batches(
        self, size: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless random batches of latents and text, some captions dropped."""
        distinct = sorted(set(self.prompts))
        numbers = torch.tensor([distinct.index(prompt) for prompt in self.prompts])
        # The last row is the empty prompt.
        text = torch.stack([EMOJI.words.encode(prompt) for prompt in [*distinct, ""]]).to(device)
        clean = self.latents.to(device)
        while True:
            pick = torch.randint(len(clean), (size,), generator=generator)
            dropped = torch.rand(size, generator=generator) < CAPTION_DROPOUT
            row = torch.where(dropped, len(distinct), numbers[pick])
            yield clean[pick.to(device)].float(), text[row.to(device)]


def encoded(
    path: Path, vae: AutoencoderTiny, scenes: Sequence[Scene], pixels: Iterator[Tensor]
) -> Encoded:
    """Pictures or clips of the scenes as latents, kept in a file and made once.

    pixels: of each scene, (frames, 3, h, w); a single frame has no dimension of frames in the
    latents, and a clip's come second, as the motion network has them.
    """
    if not path.exists():
        device = next(vae.parameters()).device
        latents = []
        for clip in tqdm(pixels, desc=path.stem, total=len(scenes), mininterval=5):
            found = encode(vae, clip.to(device)).half().cpu()
            latents.append(found[0] if len(found) == 1 else found.transpose(0, 1))
        write_tensors(path, {"latents": torch.stack(latents).contiguous()}, {})
    latents = read_tensors(path)[0]["latents"]
    return Encoded(latents, tuple(scene.prompt for scene in scenes))


def base_stills(folder: Path, emoji: Emoji, vae: AutoencoderTiny, views: int) -> Encoded:
    """Every subject in the base's looks, many times each; of the "3d" look every pose it takes.

    views: of each subject in each look.
    """
    generator = torch.Generator().manual_seed(6)
    scenes = _scenes(SUBJECTS, BASE_LOOKS, views)

    def pictures() -> Iterator[Tensor]:
        for number, scene in enumerate(scenes):
            place = random_place(generator)
            if scene.look == "3d" and number % 4:
                yield emoji.frame(scene, number, place)[None]
            else:
                yield emoji.still(scene, place)[None]

    return encoded(folder / f"stills_{views}.safetensors", vae, scenes, pictures())


def base_clips(folder: Path, emoji: Emoji, vae: AutoencoderTiny, views: int) -> Encoded:
    """Every subject in motion, in the "3d" look, from its beginning."""
    generator = torch.Generator().manual_seed(7)
    scenes = _scenes(SUBJECTS, ("3d",), views)
    clips = (emoji.clip(scene, random_place(generator))[:FRAMES] for scene in scenes)
    return encoded(folder / f"clips_{views}.safetensors", vae, scenes, clips)


def customized_stills(
    folder: Path, emoji: Emoji, vae: AutoencoderTiny, name: str, views: int
) -> Encoded:
    """The few stills that teach a look or a subject, each at many places."""
    generator = torch.Generator().manual_seed(8)
    scenes = [scene for scene in customized_scenes(name) for _ in range(views)]
    pictures = (emoji.still(scene, random_place(generator))[None] for scene in scenes)
    return encoded(folder / f"{name}_{views}.safetensors", vae, scenes, pictures)


def _scenes(subjects: Sequence[str], looks: Sequence[str], views: int) -> list[Scene]:
    behind = list(BACKGROUNDS)
    return [
        Scene(subject, look, behind[(view + number) % len(behind)])
        for number, subject in enumerate(subjects)
        for look in looks
        for view in range(views)
    ]
