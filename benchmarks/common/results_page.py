"""docs/results/tables: each benchmark writes a page of its own, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...common.atomic import atomic_write_text
from ...demo.show import plt

TABLES = Path(__file__).resolve().parents[2] / "docs" / "results" / "tables"
COLOURS = ("#2a6fdb", "#d9622b", "#3f9b57")


def put_tables(page: Path, title: str, text: str) -> None:
    """Write a page of figures, named after the page that argues about them, one folder up."""
    argument = f"Written by its benchmark; what they mean: [{page.name}](../{page.name})."
    page.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(page, f"# {title}: the figures\n{argument}\n\n{text}\n")


def commit() -> str:
    """The short name of the commit that is measured, and whether files differ from it."""
    name, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain")
    return (name or "unknown") + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    """What git says of this checkout; nothing where there is no git."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, encoding="utf-8"
        ).stdout.strip()
    except FileNotFoundError:
        return ""


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
