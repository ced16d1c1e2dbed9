"""Pictures of what came out: clips side by side, motion against scale, loss curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..training.jobs.job import JobFolder
from .data import to_images

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_ZOOM = 6  # screen pixels per world pixel
_GAP, _HEAD, _SIDE = 6, 20, 150
_INK, _PAPER = (40, 40, 48), (250, 250, 248)


def clip_grid(
    path: Path,
    columns: Sequence[str],
    rows: Sequence[str],
    clips: Sequence[Sequence[Tensor]],
    zoom: int = _ZOOM,
) -> None:
    """An animated GIF: clips[row][column] of shape (frames, 3, h, w) in 0..1, with labels.

    zoom: screen pixels per pixel.
    """
    cell = clips[0][0].shape[-1] * zoom
    width = _SIDE + len(columns) * (cell + _GAP)
    head = _HEAD + 14 * max(title.count("\n") for title in columns)
    height = head + len(rows) * (cell + _GAP)
    font = ImageFont.load_default(12)
    pictures = [[to_images(clip, zoom) for clip in row] for row in clips]
    frames = []
    for t in range(len(clips[0][0])):
        sheet = Image.new("RGB", (width, height), _PAPER)
        draw = ImageDraw.Draw(sheet)
        for j, title in enumerate(columns):
            centre = _SIDE + j * (cell + _GAP) + cell // 2
            draw.text((centre, head // 2), title, _INK, font, anchor="mm")
        for i, prompt in enumerate(rows):
            top = head + i * (cell + _GAP)
            text = "\n".join(wrap(prompt))
            draw.multiline_text((8, top + cell // 2), text, _INK, font, anchor="lm")
            for j in range(len(columns)):
                sheet.paste(pictures[i][j][t], (_SIDE + j * (cell + _GAP), top))
        frames.append(sheet)
    # One palette for all frames, or the colours would flicker where the clips do not.
    colours = frames[0].quantize(255)
    first, *rest = [f.quantize(palette=colours, dither=Image.Dither.NONE) for f in frames]
    first.save(path, save_all=True, append_images=rest, duration=125, loop=0)


def wrap(prompt: str) -> list[str]:
    """Two words a line: the side column is narrow."""
    words = prompt.split()
    return [" ".join(words[i : i + 2]) for i in range(0, len(words), 2)]


def plot_motion(path: Path, motion: dict[str, float], errors: dict[str, float]) -> None:
    """Motion against the scale of the Motion Adapter, with standard errors."""
    scales = sorted(motion, key=float)
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    axes.errorbar(
        [float(s) for s in scales],
        [motion[s] for s in scales],
        [errors[s] for s in scales],
        fmt="o-",
        color="#2a6fdb",
        capsize=3,
    )
    axes.set(
        xlabel="scale of the Motion Adapter",
        ylabel="motion, pixels per frame",
        title="1 holds the clip still, 0 is the original, below 0 moves more",
    )
    axes.title.set_fontsize(9)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_loss(path: Path, folder: JobFolder, title: str) -> None:
    """A job's loss: each step, the moving average, and the held-out loss."""
    events = list(folder.read_events())
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    steps = _series(events, "step", "loss")
    axes.plot(*steps, color="#b9c7de", linewidth=0.7, label="loss of one step")
    average = _series(events, "step", "loss_average")
    axes.plot(*average, color="#2a6fdb", label="moving average")
    held_out = _series(events, "held_out", "loss")
    axes.plot(*held_out, "o-", color="#d9622b", markersize=3, label="held out")
    axes.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _series(events: list[dict[str, Any]], kind: str, value: str) -> tuple[list, list]:
    chosen = [event for event in events if event["event"] == kind]
    return [event["step"] for event in chosen], [event[value] for event in chosen]
