"""Nodes that take clips as pictures: freeze one, measure how several move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ...adapters.meter import Motion, measure_motion
from ...common.errors import UserError
from ..shared.cancel import cancellable
from ..shared.sockets import CATEGORY

CLIPS = ("clip_1", "clip_2", "clip_3", "clip_4", "clip_5")


class FreezeClip(io.ComfyNode):
    """IMAGE -> a clip that does not move."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingFreezeClip",
            display_name="Freeze Clip",
            category=CATEGORY,
            description="Repeats one image over a whole clip: the still video that a Motion Adapter"
            " learns from, and the zero of the Motion Meter.",
            inputs=[
                io.Image.Input("image", tooltip="The first image of a batch is repeated."),
                io.Int.Input(
                    "frames", default=16, min=1, max=1024, tooltip="Length of the clip in frames."
                ),
            ],
            outputs=[io.Image.Output(display_name="clip")],
        )

    @classmethod
    def execute(cls, image: Tensor, frames: int) -> io.NodeOutput:
        return io.NodeOutput(image[:1].repeat(frames, 1, 1, 1))


class MeasureMotion(io.ComfyNode):
    """Up to five clips -> a plot, the first clip's motion, and a table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingMeasureMotion",
            display_name="Motion Meter",
            category=CATEGORY,
            description="Measures from pixels how much clips move: displacement (how far content"
            " travels) and frame difference (how much pixels change; flicker counts too).",
            inputs=[
                io.Image.Input(CLIPS[0], tooltip="A clip of at least two frames."),
                *(
                    io.Image.Input(name, optional=True, tooltip="A clip to compare with.")
                    for name in CLIPS[1:]
                ),
                io.String.Input(
                    "labels",
                    default="",
                    optional=True,
                    tooltip="Names of the clips for the plot, separated by commas, as in"
                    " 'scale 1, scale 0'.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot"),
                io.Float.Output(display_name="motion"),
                io.String.Output(display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    @cancellable()
    def execute(cls, labels: str = "", **clips: Tensor | None) -> io.NodeOutput:
        names = [name.strip() for name in labels.split(",")]
        motions: dict[str, Motion] = {}
        for i, socket in enumerate(CLIPS):
            if (clip := clips.get(socket)) is not None:
                name = names[i] if i < len(names) and names[i] else f"clip {i + 1}"
                # Two clips of one name are two lines in the plot all the same.
                motions[f"{name} ({i + 1})" if name in motions else name] = _measured(socket, clip)
        plot = draw(motions)
        motion = next(iter(motions.values())).mean_displacement
        preview: Any = ui.PreviewImage(plot, cls=cls)
        return io.NodeOutput(plot, motion, table(motions), ui=preview)


def _measured(socket: str, clip: Tensor) -> Motion:
    if len(clip) < 2:
        raise UserError(
            f"Motion Meter, {socket}",
            "a single frame",
            "a clip of at least two",
            "Connect all frames of the clip as one batch of images.",
        )
    return measure_motion(clip)


def table(motions: Mapping[str, Motion]) -> str:
    """One line a clip: frames, mean displacement in px per frame, mean frame difference."""
    width = max(len("clip"), *map(len, motions))
    lines = [f"{'clip':<{width}}  frames  px/frame  difference"]
    for name, motion in motions.items():
        frames = len(motion.difference) + 1
        means = f"{motion.mean_displacement:>8.2f}  {motion.mean_difference:>10.4f}"
        lines.append(f"{name:<{width}}  {frames:>6}  {means}")
    return "\n".join(lines)


def draw(motions: Mapping[str, Motion]) -> Tensor:
    """Both measures against the frame as one picture; (1, height, width, 3) in 0..1."""
    # Imported here: half a second that only this node needs. The Figure is drawn without pyplot,
    # which would keep global state in ComfyUI's process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.24, 5.12), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, 2)
    for name, motion in motions.items():
        frames = range(1, len(motion.difference) + 1)
        label = f"{name}: {motion.mean_displacement:.2f} px"
        axes[0].plot(frames, motion.displacement.tolist(), ".-", label=label)
        label = f"{name}: {motion.mean_difference:.3f}"
        axes[1].plot(frames, motion.difference.tolist(), ".-", label=label)
    titles = ("Displacement, px per frame", "Mean absolute frame difference")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel("frame")
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return torch.from_numpy(pixels).float().div(255).unsqueeze(0)
