"""What the fidelity benchmark found, for people: one picture first, then claims and tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...adapters.files.tensors import read_tensors
from ...demo import show
from ...demo.show import plt
from ..common.results_page import COLOURS, put_tables
from ..common.rows import shown, table
from .bench import Bench
from .claims import sentences
from .ground import Ground
from .methods import (
    INTERLEAVED,
    NAIVE,
    NO_MOTION,
    NO_NATURAL,
    NO_SPATIAL,
    OURS,
    SAME_RATE,
    SCALES,
    UNTRAINED,
)

LEADING = {OURS: COLOURS[0], NO_MOTION: COLOURS[1], NO_SPATIAL: COLOURS[2], NO_NATURAL: "#8a5fbf"}
PICTURED = ("motion", "fidelity", "frame_accuracy")
IN_CLIPS = (*UNTRAINED, OURS, INTERLEAVED, NO_MOTION, NO_SPATIAL, SAME_RATE, NO_NATURAL)
CURVES, CLIPS, SWEEP = "fidelity_curves.png", "fidelity.gif", "scale_sweep.png"
PICTURES = {
    CURVES: "Motion, fidelity and right prompts against steps of training",
    CLIPS: "Clips side by side, at the longest length",
    SWEEP: "Motion against scale",
}


# ------------------------------------------------------------------------------ pictures
def draw(out: Path, results: Mapping[str, Any], bench: Bench) -> None:
    _curves(out / CURVES, results)
    _sweep(out / SWEEP, results["sweep"])
    _clips(out, bench)


def _curves(path: Path, results: Mapping[str, Any]) -> None:
    """A row a measure, a column a kind; lengths at even distances, for they double."""
    kinds, titles = list(results["curves"]), results["titles"]
    shape = len(PICTURED), len(kinds)
    figure, axes = plt.subplots(
        *shape,
        figsize=(0.6 + 4.3 * len(kinds), 8.4),
        layout="constrained",
        sharex=True,
        sharey="row",
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title(kind)
    for line, measure in zip(axes, PICTURED, strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            methods = results["curves"][kind]
            for method, colour in LEADING.items():
                if method in methods:
                    _curve(axis, methods[method], measure, label=method, color=colour)
            if NAIVE in methods:
                level = methods[NAIVE]["0"][measure]
                axis.axhline(level, color="#888", linestyle="--", linewidth=1, label=NAIVE)
            axis.grid(alpha=0.3)
        line[0].set_ylabel(titles[measure])
        line[0].set_ylim(bottom=0)
    for axis in axes[-1]:
        axis.set_xlabel("steps of training")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(axis: Any, lengths: Mapping[str, Mapping[str, float]], measure: str, **looks) -> None:
    values = [of[measure] for of in lengths.values()]
    errors = [of[f"{measure}_error"] for of in lengths.values()]
    axis.errorbar(range(len(values)), values, errors, fmt="o-", capsize=3, markersize=4, **looks)
    axis.set_xticks(range(len(values)), list(lengths))


def _sweep(path: Path, networks: Mapping[str, Any]) -> None:
    figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for (network, values), colour in zip(networks.items(), COLOURS, strict=False):
        axis.errorbar(
            [float(s) for s in SCALES],
            [values[s]["motion"] for s in SCALES],
            [values[s]["motion_error"] for s in SCALES],
            fmt="o-", capsize=3, color=colour, label=network,
        )  # fmt: skip  # numbers, then looks
    axis.set(
        xlabel="scale of the Motion Adapter", ylabel="motion, pixels per frame", ylim=(0, None)
    )
    axis.grid(alpha=0.3)
    if networks:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _clips(out: Path, bench: Bench) -> None:
    """The first prompt of each customization, by every method at the longest length."""
    rows, clips, ground = [], [], bench.ground
    black = torch.zeros(ground.frames, 3, ground.side, ground.side)
    for token in bench.size.tokens:
        names = [m if m in UNTRAINED else f"{m}-0-{bench.size.last}" for m in IN_CLIPS]
        clips.append([_first_clip(shown(out, token, name), black) for name in names])
        rows.append(ground.scenes(token)[0].prompt)
    heads = [textwrap.fill(m, 13, break_on_hyphens=False) for m in IN_CLIPS]
    show.clip_grid(out / CLIPS, heads, rows, clips, ground.zoom)


def _first_clip(path: Path, black: Tensor) -> Tensor:
    """Of the first prompt; black where a method was not made yet."""
    if not path.exists():
        return black
    return read_tensors(path)[0]["frames"][0].float()


# -------------------------------------------------------------------------------- report
def write(page: Path, out: Path, results: Mapping[str, Any], ground: Ground) -> None:
    """The page of figures, and its pictures beside it."""
    titles: Mapping[str, str] = results["titles"]
    pictures = page.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    made = {n: about for n, about in PICTURES.items() if results["sweep"] or n != SWEEP}
    own = "" if page.stem == "fidelity" else f"{page.stem}_"  # before the pictures' names
    for name in made:
        (pictures / f"{own}{name}").write_bytes((out / name).read_bytes())
    lead, *others = (f"![{about}](pictures/{own}{name})" for name, about in made.items())
    lines = [lead, "", _about(results, ground), "", *_missing(results["missing"])]
    lines += ["**The paper's claims**, at the longest length", ""]
    lines += sentences(results)
    for kind, methods in results["curves"].items():
        for measure, title in titles.items():
            lines += ["", f"**{kind.capitalize()}: {title}** after so many steps", ""]
            lines += _lengths(methods, measure)
    last = str(results["size"]["lengths"][-1])
    for kind, lengths in results["against_ours"].items():
        lines += ["", f"**Less Still-Moving**, same prompt and seed, {last} steps: {kind}", ""]
        lines += table(lengths[last], titles)
    lines += ["", "**Motion by customization**, px per frame", "", *_by_token(results), ""]
    lines += ["**Two seeds of training** lie so far apart, in the mean", "", *_seeds(results), ""]
    lines += ["**When to stop**: fidelity in motion that a rule loses, less the best length's", ""]
    lines += table(results["stops"], {"lost": "lost", "steps": "steps that it chose"})
    put_tables(page, "Fidelity", "\n".join([*lines, "", *others]))


def _about(results: Mapping[str, Any], ground: Ground) -> str:
    size = results["size"]
    return (
        f"`{ground.command}`, commit {results['commit']}, {results['machine']}, "
        f"{results['seconds']} s. {len(size['tokens'])} customizations of {ground.title} "
        f"({', '.join(size['tokens'])}), {size['prompts']} prompts each, the same seeds for every "
        f"method; {size['seeds']} seeds of training for the main rows, one for the others; batch "
        f"{size['batch']}. Mean and standard error over clips; at 0 steps everything is injection."
    )


def _missing(parts: Sequence[str]) -> list[str]:
    if not parts:
        return []
    groups: dict[str, list[str]] = {}
    for name in parts:
        first, rest = name.split("-", 1)
        method, _, seed = rest.rpartition("-")
        groups.setdefault(f"{method}, seed {seed}" if method else first, []).append(
            first if method else rest
        )
    listed = "; ".join(f"{what}: {', '.join(who)}" for what, who in groups.items())
    told = f"**{len(parts)} parts are not measured yet** ({listed})."
    return [f"{told} Figures that need them are of the others alone.", ""]


def _lengths(methods: Mapping[str, Any], measure: str) -> list[str]:
    """A row a method, a column a length."""
    if not methods:
        return ["(not made yet)"]
    lengths = max((list(of) for of in methods.values()), key=len)
    values = {
        method: {
            key: of.get(n, {}).get(measure + ("_error" if error else ""), math.nan)
            for n in lengths
            for error, key in ((False, n), (True, f"{n}_error"))
        }
        for method, of in methods.items()
    }
    return table(values, {n: n for n in lengths})


def _by_token(results: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for token, methods in results["by_token"].items():
        rows = {f"{token}: {m}": methods[m] for m in LEADING if m in methods}
        lines += _lengths(rows, "motion")[0 if not lines else 2 :]
    return lines


def _seeds(results: Mapping[str, Any]) -> list[str]:
    titles = results["titles"]
    width = len(titles) + 1
    head: Sequence[str] = ["| | " + " | ".join(titles.values()) + " |", "|---" * width + "|"]
    return [*head] + [
        f"| {kind}: {method} | " + " | ".join(f"{values[m]:.3f}" for m in titles) + " |"
        for kind, methods in results["seeds"].items()
        for method, values in methods.items()
    ]
