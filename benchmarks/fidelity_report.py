"""What the fidelity benchmark found: means and standard errors, tables, plots and clips."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from fidelity_methods import CHOICES, METHODS, SCALES, Bench, Row, Size, in_motion
from results_page import commit, put_section

from still_moving.adapters.tensors import read_tensors
from still_moving.demo import show, world
from still_moving.demo.show import plt

MEASURES = ("fidelity", "frame_accuracy", "motion", "moving_fidelity")
TITLES = ("fidelity", "right prompt, per frame", "motion, px per frame", "fidelity in motion")
OURS, NAIVE = "Still-Moving", "injection"
KINDS = {"styles": world.STYLES, "subjects": world.SUBJECTS}


def summarize(clips: Sequence[Row], sweep: Sequence[Row], size: Size) -> dict[str, Any]:
    """Everything that is reported, as plain JSON."""
    rows = [row | {"moving_fidelity": in_motion(row["fidelity"], row["motion"])} for row in clips]
    choices = [OURS, *CHOICES]
    tested = [token for token in size.tokens if any(r["token"] == token for r in chosen(rows))]
    return {
        "commit": commit(),
        "machine": machine(),
        "size": {"tokens": size.tokens, "prompts": size.prompts, "steps": size.steps},
        "methods": {
            kind: {m: means(r for r in rows if r["token"] in tokens and r["method"] == m)
                   for m in METHODS}
            for kind, tokens in KINDS.items()
        },
        "against_injection": {
            kind: {m: paired(rows, m, tokens) for m in METHODS if m != NAIVE}
            for kind, tokens in KINDS.items()
        },
        "choices": {
            m: means(r for r in rows if r["method"] == m and r["token"] in tested) for m in choices
        },
        "amounts": {r["token"]: r["amount"] for r in rows if "amount" in r},
        "sweep": {
            network: {
                scale: means(
                    (r for r in sweep if r["network"] == network and r["scale"] == scale),
                    ("motion", "fidelity"),
                )
                for scale in SCALES
            }
            for network in dict.fromkeys(r["network"] for r in sweep)
        },
    }  # fmt: skip


def chosen(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["method"] in CHOICES]


def means(rows: Any, measures: Sequence[str] = MEASURES) -> dict[str, float]:
    """Mean and standard error of each measure."""
    found = list(rows)
    made: dict[str, float] = {"clips": len(found)}
    for name in measures:
        made[name], made[f"{name}_error"] = mean([float(row[name]) for row in found])
    return made


def mean(values: list[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return round(statistics.fmean(values), 4), round(error, 4)


def paired(rows: Sequence[Row], method: str, tokens: Sequence[str]) -> dict[str, float]:
    """Mean difference from injection on the same prompt and seed, with its standard error."""
    key: Callable[[Row], tuple] = lambda r: (r["token"], r["prompt"])  # noqa: E731
    naive = {key(r): r for r in rows if r["method"] == NAIVE and r["token"] in tokens}
    made: dict[str, float] = {}
    for name in MEASURES:
        differences = [
            r[name] - naive[key(r)][name] for r in rows if r["method"] == method and key(r) in naive
        ]
        made[name], made[f"{name}_error"] = mean(differences)
    return made


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        f"{torch.get_num_threads()} threads of {platform.machine()} CPU, torch {torch.__version__}"
    )


# ------------------------------------------------------------------------------ pictures
def draw(out: Path, found: dict[str, Any]) -> None:
    """Bars of every measure, and motion against scale."""
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(13, 4.2), layout="constrained")
    names = list(METHODS)
    for axis, measure, title in zip(axes, MEASURES, TITLES, strict=True):
        for shift, (kind, colour) in zip((-0.2, 0.2), (("styles", "#2a6fdb"), ("subjects", "#d9622b")), strict=True):  # fmt: skip  # noqa: E501
            values = found["methods"][kind]
            axis.barh(
                [i + shift for i in range(len(names))],
                [values[m][measure] for m in names],
                0.38,
                xerr=[values[m][f"{measure}_error"] for m in names],
                color=colour,
                label=kind,
            )
        axis.set(title=title, yticks=range(len(names)))
        axis.set_yticklabels(names if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(out / "fidelity.png", dpi=110)
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for network, colour in zip(found["sweep"], ("#2a6fdb", "#d9622b"), strict=False):
        values = found["sweep"][network]
        axis.errorbar(
            [float(s) for s in SCALES],
            [values[s]["motion"] for s in SCALES],
            [values[s]["motion_error"] for s in SCALES],
            fmt="o-", capsize=3, color=colour, label=network,
        )  # fmt: skip
    axis.set(
        xlabel="scale of the Motion Adapter", ylabel="motion, pixels per frame", ylim=(0, None)
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(out / "scale_sweep.png", dpi=120)
    plt.close(figure)


def clips_side_by_side(out: Path, bench: Bench) -> None:
    """The first prompt of each customization, by every method."""
    rows, clips = [], []
    for token in bench.size.tokens:
        shown = [read_tensors(out / "shown" / f"{token}-{m}.safetensors") for m in METHODS]
        clips.append([tensors["frames"] for tensors, _ in shown])
        rows.append(shown[1][1]["prompt"])
    show.clip_grid(out / "fidelity.gif", [m.replace(" ", "\n", 1) for m in METHODS], rows, clips)


# -------------------------------------------------------------------------------- report
def write(page: Path, out: Path, found: dict[str, Any]) -> None:
    """The section of the page, and its pictures beside it."""
    pictures = page.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for name in ("fidelity.png", "scale_sweep.png", "fidelity.gif"):
        (pictures / name).write_bytes((out / name).read_bytes())
    size = found["size"]
    lines = [
        f"`make fidelity`, commit {found['commit']}, {found['machine']}, {found['seconds']} s. "
        f"{len(size['tokens'])} customizations of the shapes world ({', '.join(size['tokens'])}), "
        f"{size['prompts']} prompts each, the same seeds for every method; {size['steps']} steps "
        "of training. Mean and standard error.",
        "",
    ]
    for kind in KINDS:
        lines += [f"**{kind.capitalize()}**", "", *table(found["methods"][kind]), ""]
    lines += ["**Choices** (one style and one subject)", "", *table(found["choices"]), ""]
    lines += ["**Still-Moving against injection**, same prompt and seed:", ""]
    for kind in KINDS:
        ours = found["against_injection"][kind][OURS]
        lines.append(f"- {kind}: " + ", ".join(
            f"{title} {ours[m]:+.3f} ± {ours[f'{m}_error']:.3f}"
            for m, title in zip(MEASURES, TITLES, strict=True)
        ))  # fmt: skip
    lines += [
        "",
        "![Measures](pictures/fidelity.png)",
        "![Clips side by side](pictures/fidelity.gif)",
        "![Motion against scale](pictures/scale_sweep.png)",
    ]
    put_section(page, "fidelity", "\n".join(lines))


def table(methods: dict[str, dict[str, float]]) -> list[str]:
    head = ["| | " + " | ".join(TITLES) + " |", "|---" * (len(TITLES) + 1) + "|"]
    return head + [
        f"| {name} | "
        + " | ".join(f"{values[m]:.3f} ± {values[f'{m}_error']:.3f}" for m in MEASURES)
        + " |"
        for name, values in methods.items()
    ]
