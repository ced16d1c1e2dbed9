"""What the benchmarks of the shapes world share: finished parts, means, and tables."""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from still_moving.demo import world
from still_moving.training.cache.build import build_set
from still_moving.training.cache.encoders import ShapesEncoder
from still_moving.training.cache.options import CacheOptions

Row = dict[str, Any]  # a clip: who made it, of what, and its measures


def remembered(path: Path, make: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a finished part, made if they are not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = make()
        path.write_text(json.dumps(rows), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


class Clock:
    """Seconds that a benchmark has worked, over all the runs that its folder took."""

    def __init__(self, folder: Path):
        self.path = folder / "seconds.txt"
        self.before = float(self.path.read_text()) if self.path.exists() else 0.0
        self.started = time.monotonic()

    def keep(self) -> float:
        """The seconds until now; those since the last call are lost with an interrupted run."""
        worked = self.before + time.monotonic() - self.started
        self.path.write_text(f"{worked:.1f}")
        return worked


def cached(folder: Path, kind: str, target: Path) -> Path:
    """A folder of the shapes world's pictures or clips, as a set that a job reads."""
    side = world.SIZE * 8
    options = CacheOptions(kind=kind, width=side, height=side, frames=world.FRAMES)
    build_set(folder, target, ShapesEncoder(), options, progress=False)
    return target


def means(rows: Iterable[Row], measures: Sequence[str]) -> dict[str, float]:
    """Mean and standard error of each measure."""
    found = list(rows)
    made: dict[str, float] = {"clips": len(found)}
    for name in measures:
        made[name], made[f"{name}_error"] = mean([float(row[name]) for row in found])
    return made


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

    def asked(row: Row) -> tuple:
        return tuple(row[name] for name in key)

    theirs = {asked(row): row for row in rows if row["method"] == other}
    ours = [row for row in rows if row["method"] == method and asked(row) in theirs]
    made: dict[str, float] = {}
    for name in measures:
        differences = [float(row[name]) - float(theirs[asked(row)][name]) for row in ours]
        made[name], made[f"{name}_error"] = mean(differences)
    return made


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        f"{torch.get_num_threads()} threads of {platform.machine()} CPU, torch {torch.__version__}"
    )


def table(methods: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> list[str]:
    """Lines of Markdown. titles: the measures, and what stands above their columns."""
    head = ["| | " + " | ".join(titles.values()) + " |", "|---" * (len(titles) + 1) + "|"]
    return head + [
        f"| {name} | "
        + " | ".join(f"{values[m]:.3f} ± {values[f'{m}_error']:.3f}" for m in titles)
        + " |"
        for name, values in methods.items()
    ]
