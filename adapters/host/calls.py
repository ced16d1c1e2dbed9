"""One call of the UNet, as the hooks of that call need to know it: its clips, frames and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from .views import Views, views_of


@dataclass(frozen=True)
class Call:
    """A batch of `clips` prompts with `frames` frames each, as (clips * frames, channels, *size).

    sigmas: of the batch. indexes: which frames of the whole clip of `total` these are; they are a
    part of it in windows. size: height and width of the latents. views: None, or
    of these frames, where temporal attention sees them in parts.
    """

    base: BaseModel
    sigmas: Tensor
    clips: int
    frames: int
    indexes: tuple[int, ...]
    total: int
    size: tuple[int, int]
    views: Views | None = None


def call_of(base: BaseModel, x: Tensor, sigmas: Tensor, options: dict[str, Any]) -> Call:
    """A call by its latents x and its transformer_options.

    The batch holds every frame of one prompt, then of the next. Whoever samples in windows says
    which frames they hold: ComfyUI's own windows and ours as context_window, AnimateDiff-Evolved's
    in ad_params.
    """
    clips = max(len(options.get("cond_or_uncond", ())), 1)
    frames = x.shape[0] // clips
    window, params = options.get("context_window"), options.get("ad_params") or {}
    indexes = list(getattr(window, "index_list", None) or params.get("sub_idxs") or ())
    total = getattr(window, "total_frames", 0) or params.get("full_length") or 0
    anchor = getattr(window, "causal_anchor_index", None)
    if anchor is not None and anchor >= 0:  # a frame that newer ComfyUI puts before a window
        indexes = [anchor, *indexes]
    if len(indexes) != frames:  # no window: what a sampler was given is the clip
        indexes, total = list(range(frames)), frames
    height, width = x.shape[-2:]
    total = max(total, 1 + max(indexes))
    patcher: Any = base.current_patcher
    views = views_of(patcher, frames, sigmas.device)
    return Call(base, sigmas, clips, frames, tuple(indexes), total, (height, width), views)


def entries(values: Tensor, frames: Sequence[int]) -> Tensor:
    """The entries of frames along dim 0, repeating; a single one or a scalar stays as it is."""
    count = values.shape[0] if values.ndim else 1
    return values if count == 1 else values[[i % count for i in frames]]
