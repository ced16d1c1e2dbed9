"""What the benchmarks of methods share: sets, means, and tables."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from ...demo import world
from ...training.sets.build import build_set
from ...training.sets.encoders import Encoder, ShapesEncoder
from ...training.sets.options import CacheOptions
from ...worlds.shapes import latents
from .parts import Row, alone, file_name


def cached_set(
    folder: Path, kind: str, target: Path, encoder: Encoder, pixels: int, frames: int
) -> Path:
    """A folder of a world's pictures or clips, as a set that a job reads. pixels: their side."""
    options = CacheOptions(kind=kind, width=pixels, height=pixels, frames=frames)
    with alone(target.with_suffix(".lock")):
        build_set(folder, target, encoder, options)
    return target


def cached(folder: Path, kind: str, target: Path) -> Path:
    """The same of the shapes world's."""
    return cached_set(
        folder, kind, target, ShapesEncoder(), world.SIZE * latents.FACTOR, world.FRAMES
    )


def shown(out: Path, group: str, method: str) -> Path:
    """Where a method's first clip of a group is kept for the picture."""
    path = out / "shown" / f"{file_name(f'{group}-{method}')}.safetensors"
    path.parent.mkdir(exist_ok=True)
    return path


def means(rows: Iterable[Row], measures: Sequence[str]) -> dict[str, float]:
    """Mean and standard error of each measure."""
    rows = list(rows)
    summary: dict[str, float] = {"clips": len(rows)}
    for name in measures:
        summary[name], summary[f"{name}_error"] = mean([float(row[name]) for row in rows])
    return summary


def mean(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; without values neither is a number."""
    if not values:
        return math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return round(statistics.fmean(values), 4), round(error, 4)


def paired(
    rows: Sequence[Row], method: str, other: str, measures: Sequence[str], key: Sequence[str]
) -> dict[str, float]:
    """Mean difference from another method on the same clip to make, with its standard error.

    key: what names a clip to make, such as prompt and seed.
    """

    def subject(row: Row) -> tuple:
        return tuple(row[name] for name in key)

    theirs = {subject(row): row for row in rows if row["method"] == other}
    ours = [row for row in rows if row["method"] == method and subject(row) in theirs]
    summary: dict[str, float] = {}
    for name in measures:
        differences = [float(row[name]) - float(theirs[subject(row)][name]) for row in ours]
        summary[name], summary[f"{name}_error"] = mean(differences)
    return summary


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores of {platform.machine()} CPU, torch {torch.__version__}"


def table(methods: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> list[str]:
    """Lines of Markdown. titles: the measures, and what stands above their columns."""
    head = ["| | " + " | ".join(titles.values()) + " |", "|---" * (len(titles) + 1) + "|"]
    return head + [
        f"| {name} | "
        + " | ".join(f"{values[m]:.3f} ± {values[f'{m}_error']:.3f}" for m in titles)
        + " |"
        for name, values in methods.items()
    ]
