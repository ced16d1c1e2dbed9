"""docs/results.md: each benchmark writes its own section and leaves the rest as it is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...common.atomic import atomic_write_text
from ...demo.show import plt

COLOURS = ("#2a6fdb", "#d9622b", "#3f9b57")


def put_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the section's marks. Raises ValueError when it has none."""
    old = page.read_text(encoding="utf-8")
    marks = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    new, count = pattern.subn(lambda _: f"{marks[0]}\n{text}\n{marks[1]}", old)
    if count != 1:
        raise ValueError(f"{page} has {count} sections {marks[0]}; write one where it belongs.")
    atomic_write_text(page, new)


def commit() -> str:
    """The short name of the commit that is measured, and whether files differ from it."""
    name, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain")
    return (name or "unknown") + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    """What git says of this checkout; nothing where there is no git."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def bars(
    path: Path,
    groups: Mapping[str, Mapping[str, Mapping[str, float]]],
    titles: Mapping[str, str],
    names: Sequence[str],
) -> None:
    """A panel a measure, a row a method, a bar a group, with standard errors.

    groups: group to method to measure; titles: of the measures.
    """
    size = (3.25 * len(titles), 1 + 0.36 * len(names))
    figure, axes = plt.subplots(1, len(titles), figsize=size, layout="constrained")
    thick = 0.76 / len(groups)
    for axis, (measure, title) in zip(axes, titles.items(), strict=True):
        for number, (group, values) in enumerate(groups.items()):
            axis.barh(
                [i + (number - (len(groups) - 1) / 2) * thick for i in range(len(names))],
                [values[name][measure] for name in names],
                thick,
                xerr=[values[name][f"{measure}_error"] for name in names],
                color=COLOURS[number % len(COLOURS)],
                label=group,
            )
        axis.set(title=title, yticks=range(len(names)))
        axis.set_yticklabels(names if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(groups)
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
