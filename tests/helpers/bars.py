"""Clips of a white bar whose place says which frame it is, and how they are read."""

import av
import numpy as np
import pytest
import torch

from still_moving.training.sets import media
from still_moving.training.sets.media import ClipOptions, MediaFile

WIDTH, HEIGHT, FRAMES, FPS = 32, 16, 10, 25


def bar(index):
    """A white bar that moves three pixels to the right per frame."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, 3 * index : 3 * index + 3] = 255
    return picture


def bar_places(frames):
    return [int(frame.float().mean(dim=(0, 1)).argmax()) // 3 for frame in frames]


def write_video(path, codec, pixels, pictures, fps=FPS):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def read_frames(path, clip=None):
    """All frames that the options choose: (frames, 3, height, width) uint8."""
    return torch.stack(list(media.iter_frames(MediaFile(path), clip or ClipOptions())))
