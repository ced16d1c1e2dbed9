"""Pictures and clips as files of a folder that a set is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...common.atomic import atomic_path, atomic_write_text

if TYPE_CHECKING:
    import numpy as np


def as_bytes(pixels: Tensor) -> np.ndarray:
    """(frames, height, width, 3 or more) in 0..1 to uint8 (frames, height, width, 3)."""
    import numpy as np

    return np.asarray((pixels[..., :3].clamp(0, 1) * 255).round().byte().cpu())


def save_item(frames: np.ndarray, caption: str, path: Path) -> None:
    """Write a picture (.png) or clip (.mkv) and its caption; whole or not at all, it comes last.

    frames: uint8 (n, height, width, 3); path: of the picture or clip.
    """
    from PIL import Image

    atomic_write_text(path.with_suffix(".txt"), caption)
    with atomic_path(path) as temporary:
        if len(frames) > 1:
            save_clip(frames, temporary)
        else:
            Image.fromarray(frames[0]).save(temporary, "PNG")


def save_clip(frames: np.ndarray, path: Path) -> None:
    """Write a clip without loss, 8 frames a second. frames: uint8 (n, height, width, 3).

    As video: an animated picture would drop a frame that equals the one before. Equal clips are
    equal files.
    """
    import av

    exact = {"fflags": "+bitexact"}  # else each file has an identity of its own
    with av.open(str(path), "w", "matroska", container_options=exact) as container:
        stream: Any = container.add_stream("ffv1", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
