"""The demo's input as an artist would have it: folders of pictures and clips with captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import torch
from PIL import Image
from torch import Tensor

from ..common import files
from ..common.atomic import atomic_write_text
from ..worlds.shapes import latents
from . import world


def to_images(frames: Tensor, factor: int = latents.FACTOR) -> list[Image.Image]:
    """World pixels (n, 3, h, w) in 0..1 to pictures of ``factor`` times the size."""
    pixels = latents.enlarge(frames, factor).mul(255).round().byte()
    return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in pixels]


def write_stills(
    folder: Path, stills: Tensor, scenes: Sequence[Any], factor: int = latents.FACTOR
) -> Path:
    """PNG files and captions. stills: (n, 3, h, w), drawn ``factor`` times as large.

    scenes: of any world.
    """
    files.make_folder(folder)
    for i, (image, scene) in enumerate(zip(to_images(stills, factor), scenes, strict=True)):
        image.save(folder / f"{i:03d}.png")
        atomic_write_text(folder / f"{i:03d}.txt", scene.prompt)
    return folder


def write_natural_clips(folder: Path, count: int, seed: int) -> Path:
    """Footage in the base looks."""
    generator = torch.Generator().manual_seed(seed)
    scenes = world.spread(world.all_scenes(), count)
    clips = [world.footage(world.make_clip(scene, generator).frames) for scene in scenes]
    return write_clips(folder, clips, [scene.prompt for scene in scenes])


def write_clips(
    folder: Path, clips: Sequence[Tensor], captions: Sequence[str], factor: int = latents.FACTOR
) -> Path:
    """Lossless files and captions: animated WebP, or a video where a clip stands still.

    WebP drops a frame that equals the one before. clips: (frames, 3, h, w) each, drawn ``factor``
    times as large.
    """
    files.make_folder(folder)
    for i, (clip, caption) in enumerate(zip(clips, captions, strict=True)):
        pauses = bool((clip[1:] == clip[:-1]).flatten(1).all(1).any())
        path = folder / (f"{i:03d}.mkv" if pauses else f"{i:03d}.webp")
        first, *rest = images = to_images(clip, factor)
        if pauses:
            _write_video(path, images)
        else:
            first.save(path, save_all=True, append_images=rest, lossless=True, duration=125, loop=0)
        atomic_write_text(path.with_suffix(".txt"), caption)
    return folder


def _write_video(path: Path, images: Sequence[Image.Image]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = *images[0].size, "bgr0"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image).reformat(format="bgr0")))
        container.mux(stream.encode())
