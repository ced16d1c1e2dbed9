"""Small clips of a network in training: what is learned at several scales, and how they move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...adapters.meter import measure_motion
from ...common import files
from ...common.atomic import atomic_path
from ...worlds.colours import decode_world
from ...worlds.known import WORLDS
from ...worlds.shapes.latents import enlarge
from ..checks.device import give_back, is_out_of_memory
from ..network.lora import set_motion_scale
from ..network.sampling import denoise
from ..network.unet import predict, schedule_of
from ..stage.loop import StageTraining

STEPS = 12
NO_ROOM = "the device has no room for a clip"
_SEED = 1
_FRAME_MS = 125
_ENLARGED, _PICTURE = 4, 8  # pixels of the preview, and of the finished picture, to a latent one
# What each latent channel of SD1.5 adds to red, green and blue: a linear fit known to many tools.
_SD15_RGB = (
    (0.3512, 0.2297, 0.3227),
    (0.3250, 0.4974, 0.2350),
    (-0.2829, 0.1762, 0.2721),
    (-0.2120, -0.2616, -0.7177),
)


class Postponed(Exception):
    """The device is wanted elsewhere; the clip can be made later."""


def make_sample(
    training: StageTraining, path: Path, base: str, may_go_on: Callable[[], bool]
) -> dict[str, Any]:
    """Write a sample's file; returns what is told of it: its scales, and the motion at each.

    base: "sd15" or a world's name, as checkpoints have it. Raises Postponed as ``sample_clips``.
    """
    clips = sample_clips(training, may_go_on)
    write_clip(path, clips, base)
    return {
        "file": path.name,
        "scales": scales_of(training),
        "motion": motion_of(clips, base),
    }


def scales_of(training: StageTraining) -> tuple[float, ...]:
    """What a sample shows: frozen, as it is and more motion of a Motion Adapter; with and without.

    Weights that are trained as they are cannot be switched off: with alone.
    """
    if training.trainable.site.trains_motion_adapter:
        return (1.0, 0.0, -1.0)
    return (1.0,) if training.trainable.full else (1.0, 0.0)


def sample_clips(training: StageTraining, may_go_on: Callable[[], bool]) -> Tensor:
    """Latent clips (scales, channels, frames, height, width) of the first held-out item's caption.

    At each of ``scales_of`` of the adapter in training; a Spatial Adapter is shown with the Motion
    Adapter off, as it is used. One seed, no CFG. Training goes on as if nothing had been: no
    generator of its own is drawn from, and scales are set anew or put back. Raises Postponed at the
    first step at which ``may_go_on`` is false.
    """
    item = training.held_out_items[0][0]
    text = item.text[None].to(training.device)
    size = (item.latents.shape[1], training.recipe.frames, *item.latents.shape[2:])
    half_in_part = training.trainable.full and training.dtype != torch.float32

    def network(noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        if not may_go_on():
            raise Postponed
        with torch.autocast(training.device.type, training.dtype, enabled=half_in_part):
            inputs = noisy.to(training.dtype), timesteps, text.to(training.dtype)
            whole = predict(training.unet, *inputs)
        return whole.float()

    if training.time:  # as a clip needs it, not as the last sample did
        training.time.on = any(source.view != "frame" for source in training.stage.sources)
    clips = []
    try:
        for scale in scales_of(training):
            _set_scale(training, scale)
            (clip,) = denoise(
                network, text, text[0], seeds=[_SEED], size=size, steps=STEPS, cfg=1,
                schedule=schedule_of(training.recipe.prediction, training.recipe.zero_snr),
            )  # fmt: skip  # what is made, then how
            clips.append(clip.cpu())
    finally:
        training.trainable.set_scale(1.0)
    return torch.stack(clips)


def failure(training: StageTraining, make: Callable[[], None]) -> str:
    """Make a clip with the network on its device; says why there is none, or nothing.

    Whatever goes wrong is no reason to end the training. Raises Postponed alone.
    """
    try:
        if not training.unpark():
            return NO_ROOM
        make()
    except Postponed:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        if is_out_of_memory(error):
            reason = NO_ROOM
    else:
        return ""
    give_back(training.device)  # what it had taken
    return reason


def _set_scale(training: StageTraining, scale: float) -> None:
    set_motion_scale(training.unet, 0.0)
    training.trainable.set_scale(scale)


def to_colours(latents: Tensor, base: str) -> Tensor:
    """Latents (n, 4, h, w) to colours (n, 3, h, w) in 0..1, by a linear map.

    base: "sd15" or a world's name. Exact in the shapes world; the others have a VAE, which is not
    in the worker.
    """
    if base in WORLDS:
        return decode_world(latents)
    colours = torch.einsum("lc,nlhw->nchw", torch.tensor(_SD15_RGB), latents.float())
    return ((colours + 1) / 2).clamp(0, 1)


def to_pixels(latents: Tensor, base: str) -> Tensor:
    """Latents (n, 4, h, w) to a preview's pixels (n, 3, H, W) in 0..1.

    The shapes world's pictures as they are; of others half the size and no detail.
    """
    colours = to_colours(latents, base)
    if base in WORLDS and WORLDS[base].plain:
        return enlarge(colours)
    return F.interpolate(colours, scale_factor=_ENLARGED, mode="bilinear")


def motion_of(clips: Tensor, base: str) -> list[float]:
    """How far content of each clip (n, channels, frames, h, w) travels: px per frame.

    Of the finished picture; measured on a smooth preview, where the meter can follow less than a
    latent pixel.
    """
    motion = []
    for clip in clips:
        colours = to_colours(clip.transpose(0, 1), base)
        smooth = F.interpolate(colours, scale_factor=_ENLARGED, mode="bicubic").clamp(0, 1)
        moved = measure_motion(smooth.movedim(1, -1)).mean_displacement
        motion.append(round(moved * _PICTURE / _ENLARGED, 3))
    return motion


def write_clip(path: Path, clips: Tensor, base: str) -> None:
    """An animated WebP with the clips (n, channels, frames, h, w) in a column; whole or not."""
    rows = [to_pixels(clip.transpose(0, 1), base) for clip in clips]
    pixels = torch.cat(rows, dim=-2).mul(255).round().byte()
    first, *rest = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in pixels]
    files.make_folder(path.parent)
    with atomic_path(path) as temporary:
        first.save(
            temporary, "WEBP", save_all=True, append_images=rest,
            duration=_FRAME_MS, loop=0, quality=90,
        )  # fmt: skip  # what is written, then how
