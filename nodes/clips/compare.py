"""Two or three clips as one: side by side, stacked or wiped, every frame beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError
from ..shared.sockets import CATEGORY

Layout = Literal["side by side", "stacked", "wipe"]
LAYOUTS: tuple[Layout, ...] = ("side by side", "stacked", "wipe")
CLIPS = ("before", "after", "other")
GAP = 2  # white pixels between clips
SMALLEST_TEXT, TEXT_SHARE = 11, 1 / 24  # of a label, in pixels and of the clip's height
QUALITY, METHOD = 90, 4  # of the preview; ComfyUI's own Save Animated WEBP has the same


class CompareClips(io.ComfyNode):
    """Two or three clips -> one clip that shows all of them at the same frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingCompareClips",
            display_name="Compare Clips",
            category=CATEGORY,
            description="Plays two or three clips as one, frame by frame: before and after an"
            " adapter, or a customized clip beside its base.",
            inputs=[
                io.Image.Input("before", tooltip="The clip that gives size and place."),
                io.Image.Input("after", tooltip="Is scaled to the size of the first clip."),
                io.Image.Input("other", optional=True, tooltip="A third clip."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    tooltip="side by side: in a row. stacked: in a column. wipe: one over the"
                    " other, with an edge that travels to and fro.",
                ),
                io.String.Input(
                    "labels",
                    default="before, after",
                    tooltip="Words above the clips, separated by commas; empty for none.",
                ),
                io.Float.Input(
                    "fps", default=8.0, min=0.5, max=60.0, step=0.5,
                    tooltip="Frames per second of the preview.",
                ),
            ],
            outputs=[io.Image.Output(display_name="clip")],
            is_output_node=True,
        )  # fmt: skip  # an input's limits in one line

    @classmethod
    def execute(
        cls, before: Tensor, after: Tensor, layout: Layout, labels: str, fps: float,
        other: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip  # as the inputs stand on the node
        clips = [clip for clip in (before, after, other) if clip is not None]
        names = [name.strip() for name in labels.split(",")] if labels.strip() else []
        compared = compare(clips, layout, names)
        return io.NodeOutput(compared, ui=_preview(compared, fps))


def compare(clips: Sequence[Tensor], layout: Layout, labels: Sequence[str] = ()) -> Tensor:
    """One clip of two or three; (frames, height, width, 3) in 0..1, as each of them.

    Frame i shows frame i of each clip; one that is shorter holds its last frame. All are scaled to
    the first one's size. labels: drawn in a band above each clip, the first few; none without.
    Raises UserError for a wipe of three.
    """
    if layout == "wipe" and len(clips) > 2:
        raise UserError(
            "Compare Clips", "three clips and the layout wipe", "two clips for a wipe",
            "Disconnect other, or choose side by side.",
        )  # fmt: skip  # file, found, expected, next move
    frames, (height, width) = max(map(len, clips)), clips[0].shape[1:3]
    fitted = [_held(_resized(clip[..., :3].float().cpu(), height, width), frames) for clip in clips]
    names = [*labels[: len(clips)], *[""] * (len(clips) - len(labels))]
    if layout == "wipe":
        wiped = _wipe(*fitted)
        return _labelled(wiped, names[0], names[1]) if labels else wiped
    if labels:
        fitted = [_labelled(clip, name) for clip, name in zip(fitted, names, strict=True)]
    return _joined(fitted, 2 if layout == "side by side" else 1)


def _resized(clip: Tensor, height: int, width: int) -> Tensor:
    if clip.shape[1:3] == (height, width):
        return clip
    channels_first = F.interpolate(
        clip.movedim(-1, 1), (height, width), mode="bilinear", antialias=True
    )
    return channels_first.movedim(1, -1).clamp(0, 1)


def _held(clip: Tensor, frames: int) -> Tensor:
    """As long as the longest one: the last frame stays."""
    return torch.cat([clip, clip[-1:].expand(frames - len(clip), -1, -1, -1)])


def _joined(clips: Sequence[Tensor], side: int) -> Tensor:
    """In a row (side 2) or a column (side 1), with a gap between them."""
    shape = list(clips[0].shape)
    shape[side] = GAP
    parts = [part for clip in clips for part in (clip, torch.ones(shape))]
    return torch.cat(parts[:-1], side)


def _wipe(before: Tensor, after: Tensor) -> Tensor:
    """``before`` left of an edge that goes from right to left and back once a clip."""
    width, frames = before.shape[2], len(before)
    turns = torch.arange(frames) / frames
    edges = ((1 + torch.cos(2 * torch.pi * turns)) / 2 * width).round()
    columns = torch.arange(width)
    left = (columns < edges[:, None])[:, None, :, None]
    wiped = torch.where(left, before, after)
    return torch.where((columns == edges[:, None])[:, None, :, None], 1.0, wiped)


def _labelled(clip: Tensor, left: str, right: str = "") -> Tensor:
    """Below a white band with words at its left and its right."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(SMALLEST_TEXT, round(clip.shape[1] * TEXT_SHARE))
    font = ImageFont.load_default(size)
    band = Image.new("RGB", (clip.shape[2], round(size * 1.5)), "white")
    write = ImageDraw.Draw(band).text
    middle = band.height / 2
    write((2, middle), left, "black", font, anchor="lm")
    write((band.width - 2, middle), right, "black", font, anchor="rm")
    words = torch.from_numpy(np.asarray(band).copy()).float().div(255)
    return torch.cat([words.expand(len(clip), -1, -1, -1), clip], 1)


def _preview(clip: Tensor, fps: float) -> Any:
    """A looping picture on the node, kept with ComfyUI's temporary files."""
    saved = ui.ImageSaveHelper.save_animated_webp(
        clip, "still_moving_compare", io.FolderType.temp, None, fps, False, QUALITY, METHOD
    )
    return ui.SavedImages([saved], is_animated=True)
