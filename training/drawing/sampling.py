"""One picture or clip by ComfyUI's own KSampler: in ComfyUI's process and in the one that draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sample
import torch
from torch import Tensor

Conditioning = list[list[Any]]  # ComfyUI's CONDITIONING: [[(1, tokens, dim), its options], ...]


def conditioning_of(clip: Any, text: str) -> Conditioning:
    """A prompt as CLIP Text Encode gives it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def draw(
    model: Any, vae: Any, positive: Conditioning, unwanted: Conditioning, shape: tuple[int, ...],
    seed: int, each_step: Callable[[], None], **sampler: Any,
) -> Tensor:  # fmt: skip  # with what, of what, how
    """(frames, height, width, 3) in 0..1, on the CPU.

    shape: (frames, height, width) in pixels. each_step: called after every step; what it raises
    ends the drawing. sampler: steps, cfg, sampler_name, scheduler.
    """
    frames, height, width = shape
    empty = torch.zeros(frames, 4, height // 8, width // 8)
    latents = comfy.sample.sample(
        model, comfy.sample.prepare_noise(empty, seed), sampler["steps"], sampler["cfg"],
        sampler["sampler_name"], sampler["scheduler"], positive, unwanted, empty, seed=seed,
        disable_pbar=True, callback=lambda *_: each_step(),
    )  # fmt: skip  # many short values, several a line
    return vae.decode(latents).cpu()
