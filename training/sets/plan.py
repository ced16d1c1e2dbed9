"""A set that is yet to be drawn: all that this takes, as data beside the set that it becomes.

plan.json says how, plan.safetensors holds what ComfyUI made of the words, and the MODEL's and the
VAE's weights are files of their own. Reading needs torch and safetensors only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...adapters.files.tensors import read_tensors, write_tensors
from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ..recipes.parse import parse
from .options import CacheOptions
from .store import LATENT_CHANNELS, SET_FILE, Item, LoadedSet, content_key

PLAN_FILE, WORDS_FILE = "plan.json", "plan.safetensors"
_AGAIN = "Press Train again."


@dataclass(frozen=True)
class Sampling:
    """How a MODEL samples. predicts: "epsilon" and so on; distilled: LCM's timesteps, or 0."""

    predicts: str
    distilled: int
    zero_snr: bool


@dataclass(frozen=True)
class Host:
    """The ComfyUI that draws. folder: its checkout; options: its command line's, as JSON."""

    folder: str
    options: str


@dataclass(frozen=True)
class Plan:
    """What is drawn, with what, and how. Paths are absolute; seed is that of the first item.

    model, vae: files of weights; no VAE is the shapes world's. base: "sd15" or a world's name.
    motion_module: its file, and motion_hash what is in that; empty for stills. encoder: the id of
    what encodes the set; sections: how many times 77 tokens it reads of each text.
    """

    prompts: tuple[str, ...]
    negative: str
    frames: int
    width: int
    height: int
    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    model: str
    base: str
    sampling: Sampling
    motion_module: str
    motion_hash: str
    vae: str
    vae_dtype: str
    encoder: str
    sections: tuple[int, ...]
    host: Host
    pictures: str = ""  # the folder that they are drawn into
    format: Literal[1] = 1

    @property
    def kind(self) -> str:
        return "clips" if self.frames > 1 else "stills"

    @property
    def noun(self) -> str:
        """What an item is called."""
        return "clip" if self.frames > 1 else "image"

    @property
    def nouns(self) -> str:
        """What several items are called."""
        return "clips" if self.frames > 1 else "images"

    @property
    def texts(self) -> list[str]:
        """Every prompt once, in the order of their first use."""
        return list(dict.fromkeys(self.prompts))

    @property
    def options(self) -> CacheOptions:
        """How the set is made of what was drawn. Raises UserError for a size out of range."""
        return CacheOptions(
            kind=self.kind, frames=self.frames, width=self.width, height=self.height
        )

    def file(self, index: int) -> Path:
        """The place of an item, counted from 0. It is drawn exactly when this file is there."""
        ending = ".mkv" if self.frames > 1 else ".png"
        return Path(self.pictures) / f"{index:04d}{ending}"

    def drawn(self) -> int:
        """How many items are there."""
        return sum(self.file(i).is_file() for i in range(len(self.prompts)))

    def key(self, words: Words) -> str:
        """A name for what it draws: the same wherever ComfyUI and the files lie."""
        said = dataclasses.asdict(self)
        for place in ("host", "pictures", "motion_module"):
            del said[place]
        said |= {"model": Path(self.model).name, "vae": Path(self.vae).name}
        return content_key("plan", said, words.digest())[:32]


@dataclass(frozen=True)
class Words:
    """What ComfyUI made of the texts of a plan, in their order.

    conditioning, pooled: of each text, and of the negative one last: (1, tokens, dim), (1, dim) or
    None. captions: (tokens, dim) float32, as a cached set holds them. sigmas, log_sigmas: the
    MODEL's tables, (timesteps,).
    """

    conditioning: tuple[Tensor, ...]
    pooled: tuple[Tensor | None, ...]
    captions: tuple[Tensor, ...]
    sigmas: Tensor
    log_sigmas: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By names as in the file."""
        named = {f"conditioning.{i}": t for i, t in enumerate(self.conditioning)}
        named |= {f"pooled.{i}": t for i, t in enumerate(self.pooled) if t is not None}
        named |= {f"caption.{i}": t for i, t in enumerate(self.captions)}
        named |= {"sigmas": self.sigmas, "log_sigmas": self.log_sigmas}
        return {name: t.detach().cpu().contiguous() for name, t in named.items()}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Words:
        """Raises KeyError where one is missing."""
        count = sum(name.startswith("conditioning.") for name in tensors)
        return cls(
            tuple(tensors[f"conditioning.{i}"] for i in range(count)),
            tuple(tensors.get(f"pooled.{i}") for i in range(count)),
            tuple(tensors[f"caption.{i}"] for i in range(count - 1)),
            tensors["sigmas"],
            tensors["log_sigmas"],
        )

    def digest(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self.tensors().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def write_plan(folder: Path, plan: Plan, words: Words) -> None:
    """Write a plan into the folder of its set, or say anew where ComfyUI and the files are."""
    files.make_folder(folder)
    files.make_folder(plan.pictures)
    if not (folder / WORDS_FILE).is_file():
        write_tensors(folder / WORDS_FILE, words.tensors(), {})
    atomic_write_text(folder / PLAN_FILE, json.dumps(dataclasses.asdict(plan), indent=1))


def is_planned(folder: Path) -> bool:
    """Whether the folder holds a plan, and not yet the set."""
    return (folder / PLAN_FILE).is_file() and not (folder / SET_FILE).is_file()


def read_plan(folder: Path) -> tuple[Plan, Words]:
    """Raises UserError where it is missing or damaged."""
    path = folder / PLAN_FILE
    try:
        plan = parse(Plan, json.loads(files.read_text(path)), str(path))
        tensors = {name: t.clone() for name, t in read_tensors(folder / WORDS_FILE)[0].items()}
        words = Words.of(tensors)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, KeyError) as error:
        raise UserError(path, f"unreadable ({error})", "the plan of a set", _AGAIN) from error
    if len(words.captions) != len(plan.texts):
        raise UserError(
            folder / WORDS_FILE, f"{len(words.captions)} texts", str(len(plan.texts)), _AGAIN
        )
    return plan, words


def expected_set(folder: Path) -> LoadedSet:
    """The set that a plan becomes, for checks: everything but what is in the latents.

    They are on torch's meta device. Raises UserError as ``read_plan``.
    """
    plan, words = read_plan(folder)
    captions = dict(zip(plan.texts, words.captions, strict=True))
    shape = (plan.frames, LATENT_CHANNELS, plan.height // 8, plan.width // 8)
    latents = torch.empty(shape, device="meta")
    items = [
        Item(str(i), prompt, latents, captions[prompt], plan.file(i).name)
        for i, prompt in enumerate(plan.prompts)
    ]
    return LoadedSet(plan.kind, plan.encoder, tuple(items))
