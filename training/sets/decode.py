"""Pillow and PyAV behind two calls: look through a file, and give some of its frames.

Whatever they raise on damaged bytes passes through; media.py turns it into a UserError.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ...common import files
from .progress import Pulse

# Per frame: beyond every camera, below every decompression bomb. A clip has many frames.
MAX_STILL_PIXELS = 128 << 20
MAX_CLIP_PIXELS = 40 << 20  # 8K has 33 million
Image.init()  # else Pillow knows only some formats, by what it happened to open before
_PICTURES = [kind for kind in ("JPEG", "MPO", "PNG", "WEBP", "GIF") if kind in Image.OPEN]
# Named, so that a playlist called clip.mp4 cannot make FFmpeg open other files or addresses.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
_BROWSERS_GIF_DELAY = 0.1  # seconds, for animations that say 0

Survey = tuple[int, int, tuple[float, ...], bool]


def survey(path: Path, is_video: bool, pulse: Pulse | None = None) -> Survey:
    """Decode everything once: width, height, time of each frame in seconds, moving or not."""
    pulse = pulse or Pulse()
    return _survey_video(path, pulse) if is_video else _survey_picture(path, pulse)


def frames(path: Path, is_video: bool, picks: list[int], pulse: Pulse) -> Iterator[Tensor]:
    """The picked frames (indices never fall) as (3, H, W) uint8, upright, on white."""
    decode = _video_frames if is_video else _picture_frames
    decoded = decode(path, picks, pulse)
    shape = None
    for frame in decoded:
        if shape not in (None, frame.shape):
            raise ValueError(f"the frame size changes from {shape} to {frame.shape}")
        shape = frame.shape
        yield torch.from_numpy(frame).permute(2, 0, 1).contiguous()


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd EXIF and large pictures
        with files.opened(path) as file, _recognized(file) as image:
            _refuse_huge(*image.size, moving=_frame_count(image) > 1)
            yield image


def _recognized(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=_PICTURES)
    except UnidentifiedImageError:  # would name the file as Python does
        raise ValueError("no picture of a known kind") from None


def _refuse_huge(width: int, height: int, moving: bool) -> None:
    limit = MAX_CLIP_PIXELS if moving else MAX_STILL_PIXELS
    if width * height > limit:
        raise ValueError(f"{width} x {height} pixels, more than {limit >> 20} megapixels")


def _frame_count(image: Image.Image) -> int:
    # Phones write JPEGs with a second picture inside (MPO): those are stills.
    return getattr(image, "n_frames", 1) if image.format in ("GIF", "WEBP", "PNG") else 1


def _survey_picture(path: Path, pulse: Pulse) -> Survey:
    times, now = [], 0.0
    with _picture(path) as image:
        count = _frame_count(image)
        width, height = _upright(image).size
        for index in range(count):
            pulse()
            image.seek(index)
            image.load()
            times.append(now)
            now += (image.info.get("duration") or 0) / 1000 or _BROWSERS_GIF_DELAY
    return width, height, tuple(times), count > 1


def _picture_frames(path: Path, picks: list[int], pulse: Pulse) -> Iterator[np.ndarray]:
    with _picture(path) as image:
        for index in picks:
            pulse()
            image.seek(index)
            yield _rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of any mode that the five formats have."""
    if image.mode.startswith("I"):  # 16-bit grey; convert() would clip it to white
        grey = np.asarray(image).astype(np.float64).clip(0, 65535) / 257
        return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


@contextmanager
def _video(path: Path) -> Iterator[Iterator[av.VideoFrame]]:
    limits = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    with files.patient(lambda: av.open(str(path), options=limits)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ValueError("no decoder for its codec")
        _refuse_huge(context.width, context.height, moving=True)
        # The stream itself can say another size than its container.
        context.options = {"max_pixels": str(MAX_CLIP_PIXELS)}
        yield container.decode(stream)


def _survey_video(path: Path, pulse: Pulse) -> Survey:
    times: list[float] = []
    width = height = 0
    with _video(path) as decoded:
        for index, frame in enumerate(decoded):
            pulse()
            if index == 0:
                turned = frame.rotation % 180 != 0
                width, height = frame.width, frame.height
                width, height = (height, width) if turned else (width, height)
            time = frame.time
            # A frame without a time, or before its predecessor's, follows at once.
            later = times[-1] + 1e-3 if times else 0.0
            times.append(time if time is not None and (not times or time > times[-1]) else later)
    if not times:
        raise ValueError("not one frame could be decoded")
    return width, height, tuple(times), True


def _video_frames(path: Path, picks: list[int], pulse: Pulse) -> Iterator[np.ndarray]:
    waiting = list(picks)
    with _video(path) as decoded:
        for index, frame in enumerate(decoded):
            pulse()
            if not waiting:
                return
            if index == waiting[0]:
                turned = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                picture = np.ascontiguousarray(turned)
                while waiting and waiting[0] == index:  # a slow clip at a high fps repeats frames
                    waiting.pop(0)
                    yield picture
    if waiting:
        raise ValueError(f"the file ends before frame {waiting[0] + 1}")
