"""Clips that say how they are to be shown, written by PyAV, and pictures to tell it by."""

from fractions import Fraction

import av
import numpy as np
import pytest

from still_moving.training.sets.build import CacheOptions
from still_moving.training.sets.preflight import preflight

CORNERS = np.array([[(230, 20, 20), (20, 200, 20)], [(20, 20, 220), (200, 200, 200)]], np.uint8)


def corners(height=32, width=48):
    """Red, green; blue, grey: no two of its eight orientations are alike."""
    return CORNERS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def corner_colours(frame):
    """(2, 2, 3): the middles of the four quarters of a (3, H, W) frame."""
    _, height, width = frame.shape
    rows, columns = [height // 4, 3 * height // 4], [width // 4, 3 * width // 4]
    return frame[:, rows][:, :, columns].movedim(0, -1).numpy().astype(int)


def write(path, pictures, codec="libx264", pixels="yuv444p", rate=25, **says):
    """pictures: (H, W, 3 or 4) uint8, or VideoFrames. says: matrix, aspect, colours, options.

    Also times, in seconds, and container, options of its own.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    ready = [p if isinstance(p, av.VideoFrame) else as_frame(p, pixels) for p in pictures]
    with av.open(str(path), "w", options=says.get("container", {})) as container:
        stream = container.add_stream(codec, rate=rate, options=says.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = ready[0].width, ready[0].height, pixels
        if "aspect" in says:
            stream.codec_context.sample_aspect_ratio = Fraction(says["aspect"])
        if "matrix" in says:
            if not hasattr(stream, "set_display_matrix"):
                pytest.skip("this PyAV cannot write a display matrix")
            a, b, c, d = (round(part * 65536) for part in says["matrix"])
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for key, value in says.get("colours", {}).items():
            setattr(stream.codec_context, key, value)
        for index, frame in enumerate(ready):
            for key, value in says.get("colours", {}).items():
                if hasattr(frame, key):
                    setattr(frame, key, value)
            if "times" in says:
                frame.pts, frame.time_base = round(says["times"][index] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def as_frame(picture, pixels):
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if picture.shape[2] == 3 else "rgba")
    return frame.reformat(format=pixels)


def flat(pixels, *values, size=(64, 48)):
    """A frame whose planes have one value each."""
    frame = av.VideoFrame(size[0], size[1], pixels)
    deep = "10" in pixels or "12" in pixels
    for plane, value in zip(frame.planes, values, strict=True):
        number = np.array(value, np.uint16 if deep else np.uint8).tobytes()
        plane.update(number * (plane.buffer_size // len(number)))
    return frame


def notes_of(folder, **options):
    """The lines that a person reads about a folder."""
    given = {"width": 16, "height": 16, "frames": 2, "prompt": "a clip", **options}
    return "\n".join(preflight(folder, CacheOptions(**given)).notes())
