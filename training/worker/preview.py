"""Small clips of a network in training: with what is learned (scale 1) beside without (scale 0)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ...common import files
from ...common.atomic import atomic_path
from ..checks.device import give_back, is_out_of_memory
from ..network.lora import set_motion_scale
from ..network.sampling import denoise
from ..network.unet import predict, schedule_of
from ..stage.loop import StageTraining

STEPS = 12
NO_ROOM = "the device has no room for a clip"
_SEED = 1
_FRAME_MS = 125
# What each latent channel of SD1.5 adds to red, green and blue: a linear fit known to many tools.
_SD15_RGB = (
    (0.3512, 0.2297, 0.3227),
    (0.3250, 0.4974, 0.2350),
    (-0.2829, 0.1762, 0.2721),
    (-0.2120, -0.2616, -0.7177),
)


class Postponed(Exception):
    """The device is wanted elsewhere; the clip can be made later."""


def sample_pair(training: StageTraining, may_go_on: Callable[[], bool]) -> Tensor:
    """Latent clips (2, channels, frames, height, width) of the first held-out item's caption.

    At scale 1 and at scale 0 of the adapter in training; a Spatial Adapter is shown with the
    Motion Adapter off, as it is used. One seed, no CFG. Training goes on as if nothing had been:
    no generator of its own is drawn from, and scales are set anew or put back. Where every
    spatial weight is trained there is no scale 0, and the two are the same network. Raises
    Postponed at the first step at which ``may_go_on`` is false.
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
        for scale in (1.0, 0.0):
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


def to_pixels(latents: Tensor, encoder: str) -> Tensor:
    """Latents (n, 4, h, w) to pixels (n, 3, H, W) in 0..1; encoder: the cached set's.

    Exact in the shapes world. For SD1.5 it is a preview: colours by a linear map, no detail and
    half the size, because the VAE is not in the worker.
    """
    if encoder.startswith("shapes-"):
        from ...worlds.shapes.latents import decode_image

        return decode_image(latents)
    colours = torch.einsum("lc,nlhw->nchw", torch.tensor(_SD15_RGB), latents.float())
    pixels = ((colours + 1) / 2).clamp(0, 1)
    return torch.nn.functional.interpolate(pixels, scale_factor=4, mode="bilinear")


def write_clip(path: Path, clips: Tensor, encoder: str) -> None:
    """An animated WebP with the clips (n, channels, frames, h, w) side by side; whole or not."""
    rows = [to_pixels(clip.transpose(0, 1), encoder) for clip in clips]
    pixels = torch.cat(rows, dim=-1).mul(255).round().byte()
    first, *rest = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in pixels]
    files.make_folder(path.parent)
    with atomic_path(path) as temporary:
        first.save(
            temporary, "WEBP", save_all=True, append_images=rest,
            duration=_FRAME_MS, loop=0, quality=90,
        )  # fmt: skip  # what is written, then how
