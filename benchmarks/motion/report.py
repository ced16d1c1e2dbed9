"""What the motion benchmark found: means and standard errors, tables, plots and clips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...adapters.files.tensors import read_tensors
from ...demo import show
from ...demo.reference import MOTIONS, reference_clip
from ...demo.show import plt
from ..common.parts import Row
from ..common.results_page import COLOURS, bars, put_tables
from ..common.rows import machine, means, paired, shown, table
from .methods import MAIN, METHODS, PLAIN, Size, lengths_of, parts_of

TITLES = {
    "trajectory_match": "trajectory match",
    "any_phase": "in any phase",
    "thing": "right shape and colour",
    "background": "right background",
    "leakage": "leakage",
    "ghost": "ghost",
    "diversity": "diversity",
}
MEASURES = tuple(TITLES)
CLIP = ("motion", "scene", "seed")  # what names a clip to make
PICTURES = ("motion_curves.png", "motion_paths.png", "motion.gif", "motion_ablations.png")
TRAINED = tuple(name for name in MAIN if METHODS[name].kind is not None)
UNTRAINED = tuple(name for name in MAIN if METHODS[name].kind is None)
LEARNED = 0.8  # trajectory match from which a motion counts as learned
Means = dict[str, float]


def summarize(rows: Sequence[Row], size: Size) -> dict[str, Any]:
    """Everything that is reported, as plain JSON. Without a length: at the chosen one.

    What has no rows yet is left out, and its part named under "missing".
    """
    there = {(row["motion"], row["method"], row["steps"]) for row in rows}
    at = [row for row in rows if row["steps"] in (0, size.chosen)]

    def of(some: Sequence[Row], names: Iterable[str]) -> dict[str, Means]:
        made = {row["method"] for row in some}
        return {
            m: means((r for r in some if r["method"] == m), MEASURES) for m in names if m in made
        }

    by_motion = {m: [r for r in at if r["motion"] == m] for m in size.motions}
    return {
        "machine": machine(),
        "size": {
            "motions": size.motions,
            "clips": size.prompts * size.seeds,
            "lengths": size.lengths,
            "chosen": size.chosen,
        },
        "missing": [part.label for part in parts_of(size) if part not in there],
        "curves": {motion: _curves(rows, motion, size) for motion in size.motions},
        "methods": of(at, MAIN),
        "by_motion": {motion: of(some, MAIN) for motion, some in by_motion.items()},
        "ablations": of(by_motion[size.motions[0]], METHODS),
        "against": {other: _less(at, other) for other in ("base", PLAIN)},
    }


def _less(rows: Sequence[Row], other: str) -> dict[str, Means]:
    """The main methods less another one, where both have made a clip."""
    less = {m: paired(rows, m, other, MEASURES, CLIP) for m in MAIN if m != other}
    return {m: of for m, of in less.items() if not math.isnan(of[MEASURES[0]])}


def _curves(rows: Sequence[Row], motion: str, size: Size) -> dict[str, dict[str, Means]]:
    """Method to steps to means; steps as JSON has them, in words."""

    def of(name: str, steps: int) -> Means:
        wanted = (motion, name, steps)
        some = (r for r in rows if (r["motion"], r["method"], r["steps"]) == wanted)
        return means(some, MEASURES)

    return {name: {str(s): of(name, s) for s in lengths_of(name, size)} for name in MAIN}


# ------------------------------------------------------------------------------ pictures
def draw(out: Path, rows: Sequence[Row], results: dict[str, Any], size: Size) -> None:
    _plot_curves(out / "motion_curves.png", results["curves"])
    bars(
        out / "motion_ablations.png",
        {size.motions[0]: results["ablations"]},
        TITLES,
        list(results["ablations"]),
    )
    at = [row for row in rows if row["steps"] in (0, size.chosen)]
    _paths(out / "motion_paths.png", at, size.motions)
    _clips(out, size.motions)


def _plot_curves(path: Path, curves: dict[str, dict[str, dict[str, Means]]]) -> None:
    """Trajectory match against steps: a panel a motion, a line a method, dashed if untrained."""
    size = (4.3 * len(curves), 3.9)
    figure, axes = plt.subplots(
        1, len(curves), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    for axis, (motion, methods) in zip(axes[0], curves.items(), strict=True):
        for colour, name in zip(("#555555", "#a05fc0", "#b8a020"), UNTRAINED, strict=True):
            level = methods[name]["0"]["trajectory_match"]
            axis.axhline(level, color=colour, linestyle="--", linewidth=1, label=name)
        for colour, name in zip((*COLOURS, "#c03050"), TRAINED, strict=True):
            points = methods[name]
            axis.errorbar(
                [int(steps) for steps in points],
                [point["trajectory_match"] for point in points.values()],
                [point["trajectory_match_error"] for point in points.values()],
                fmt="o-", markersize=3, capsize=2, color=colour, label=name,
            )  # fmt: skip  # numbers, then looks
        axis.axhline(LEARNED, color="black", linestyle=":", linewidth=1)
        lengths = [int(steps) for steps in methods[TRAINED[0]]]
        ends = (0.8 * min(lengths), 1.25 * max(lengths))
        axis.set(title=motion, xlabel="steps of training", xlim=ends, ylim=(-1.05, 1.05))
        axis.set_xscale("log")
        axis.set_xticks(lengths, map(str, lengths))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("trajectory match")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _paths(path: Path, rows: Sequence[Row], motions: Sequence[str]) -> None:
    """Every clip's path around its centre, over the reference's."""
    shape = len(motions), len(MAIN)
    size = (2.1 * shape[1], 2.2 * shape[0])
    figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for axis, method in zip(axes[0], MAIN, strict=True):
        axis.set_title(method, fontsize=9)
    for line, motion in zip(axes, motions, strict=True):
        reference = MOTIONS[motion]()
        reference = reference - reference.mean(0)
        for axis, method in zip(line, MAIN, strict=True):
            for row in (r for r in rows if r["motion"] == motion and r["method"] == method):
                x, y = zip(*row["path"], strict=True)
                middle = sum(x) / len(x), sum(y) / len(y)
                moved = [v - middle[0] for v in x], [v - middle[1] for v in y]
                axis.plot(*moved, color=COLOURS[0], alpha=0.3, linewidth=0.9)
            axis.plot(*reference.T, "o-", color=COLOURS[1], markersize=3)
            axis.set(xlim=(-5, 5), ylim=(5, -5), aspect="equal")  # y points down
            axis.grid(alpha=0.3)
        line[0].set_ylabel(motion)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _clips(out: Path, motions: Sequence[str]) -> None:
    """The first prompt of each motion by the main methods, beside the reference."""
    titles = ["reference", *(name.partition(":")[0] for name in MAIN)]
    clips = []
    for motion in motions:
        reference = reference_clip(motion).frames
        paths = [shown(out, motion, m) for m in MAIN]
        clips.append(
            [
                reference,
                *(  # grey where a part is not there yet
                    read_tensors(path)[0]["frames"] if path.exists() else 0 * reference + 0.5
                    for path in paths
                ),
            ]
        )
    show.clip_grid(out / "motion.gif", titles, motions, clips)


# -------------------------------------------------------------------------------- report
def write(page: Path, out: Path, results: dict[str, Any]) -> None:
    """The page of figures, and its pictures beside it."""
    pictures = page.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (pictures / name).write_bytes((out / name).read_bytes())
    size = results["size"]
    lines = [
        f"`make motion-benchmark`, commit {results['commit']}, {results['machine']}, "
        f"{results['seconds']} s. {len(size['motions'])} motions ({', '.join(size['motions'])}), "
        f"{size['clips']} clips of each by every method (from inverted latents half as many: "
        "there a seed changes nothing). Mean and standard error over clips; one training each, "
        "every length gone on from the one before. "
        f"Where no length is named, {size['chosen']} steps.",
        "",
        f"![{PICTURES[0]}](pictures/{PICTURES[0]})",
        "",
    ]
    if results["missing"]:
        lines += [f"{len(results['missing'])} parts are not measured yet.", ""]
    for motion, curves in results["curves"].items():
        lines += [f"**Trajectory match against steps: {motion}**", "", *_by_steps(curves), ""]
    lines += ["**All measures**, over the motions", "", *table(results["methods"], TITLES), ""]
    lines += ["**Trajectory match by motion**", "", *_by_motion(results["by_motion"]), ""]
    for other, differences in results["against"].items():
        lines += [f"**Less {other}**, same prompt and seed", "", *table(differences, TITLES), ""]
    lines += [f"**Ablations** ({size['motions'][0]} alone)", ""]
    lines += [*table(results["ablations"], TITLES), ""]
    lines += [f"![{name}](pictures/{name})" for name in PICTURES[1:]]
    put_tables(page, "Motion from reference clips", "\n".join(lines))


def _by_steps(curves: dict[str, dict[str, Means]]) -> list[str]:
    """A row a method, a column a length, and the first length from which it counts as learned."""
    lengths = list(curves[TRAINED[0]])
    lines = ["| | " + " | ".join([*lengths, f"first {LEARNED}"]) + " |"]
    lines += ["|---" * (len(lengths) + 2) + "|"]
    for name in TRAINED:
        points = curves[name]
        reached = (s for s in lengths if points[s]["trajectory_match"] >= LEARNED)
        whole = all(points[steps]["clips"] for steps in lengths)
        first = next(reached, "not" if whole else "")
        cells = [*(_cell(points[steps]) for steps in lengths), first]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _by_motion(results: dict[str, dict[str, Means]]) -> list[str]:
    lines = ["| | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for name in MAIN:
        cells = [_cell(of[name]) if name in of else "" for of in results.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(of: Means) -> str:
    """Empty where nothing was measured."""
    if not of["clips"]:
        return ""
    return f"{of['trajectory_match']:.2f} ± {of['trajectory_match_error']:.2f}"
