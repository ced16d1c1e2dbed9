"""The emoji world's customizations: a look or a subject that the base never saw, by a rare word.

DreamBooth (arXiv:2208.12242) with a LoRA: a few stills called by the word, and beside them the
base's own stills, so that it stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from ...adapters.files.checkpoint import read_unet
from ...adapters.files.image_lora import merge_image_lora
from ...adapters.files.tensors import write_tensors
from ..image_lora import ATTENTION, CONVOLUTIONS, save_lora, with_lora
from ..image_model import load_image_model
from .subjects import BACKGROUNDS, HELD_OUT, NEW_LOOKS, SUBJECTS, TOKENS, Scene

RANK = 16
PRIOR = 0.5  # weight of the base's own stills
_EVERY = 6  # a customized look is seen on every so-manieth subject, the others are left to ask for
TAUGHT = SUBJECTS[::_EVERY]
_POSES = 6  # stills of a customized subject: one before each background


def customized_scenes(name: str) -> list[Scene]:
    """The stills that teach a look or a subject. Raises KeyError for a name without a rare word."""
    behind = list(BACKGROUNDS)
    if name in NEW_LOOKS:
        return [
            Scene(subject, name, behind[number % len(behind)])
            for number, subject in enumerate(TAUGHT)
        ]
    if name not in HELD_OUT:
        raise KeyError(name)
    return [Scene(name, "3d", background) for background in behind[:_POSES]]


def customized_name(name: str) -> str:
    """The LoRA's file."""
    return f"emoji_{TOKENS[name]}_lora.safetensors"


def customizing(base: Path) -> nn.Module:
    """The base's image model with an untrained LoRA."""
    return with_lora(load_image_model(base), RANK, (*ATTENTION, *CONVOLUTIONS))


def write_customized(path: Path, base: Path, lora: Path) -> None:
    """The base with a customization in its weights: a checkpoint, as artists have them."""
    tensors = merge_image_lora(read_unet(base), lora).tensors
    named = {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
    write_tensors(path, named, {"description": f"The emoji world: {lora.stem}"})


def with_prior(own: Callable[[], Tensor], prior: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The loss on the few stills, and beside it the one on the base's own."""
    return lambda: own() + PRIOR * prior()


def save_customization(path: Path, model: nn.Module, name: str) -> None:
    what = "look" if name in NEW_LOOKS else "subject"
    save_lora(path, model, f"The emoji world: the {what} {name}, say {TOKENS[name]!r}")
