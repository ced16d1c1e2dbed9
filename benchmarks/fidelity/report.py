"""What the fidelity benchmark found: means and standard errors, tables, plots and clips."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...adapters.files.tensors import read_tensors
from ...demo import show, world
from ...demo.show import plt
from ..common.parts import Row
from ..common.results_page import bars, put_tables
from ..common.rows import machine, means, paired, shown, table
from .methods import METHODS, SCALES, Bench, Size, choices, in_motion

TITLES = {
    "fidelity": "fidelity",
    "frame_accuracy": "right prompt, per frame",
    "motion": "motion, px per frame",
    "moving_fidelity": "fidelity in motion",
}
MEASURES = tuple(TITLES)
OURS, NAIVE, STILL = "Still-Moving", "injection", "a still, repeated"
CLIP = ("token", "prompt")  # the seed goes with the prompt
KINDS = {"styles": world.STYLES, "subjects": world.SUBJECTS}


def summarize(clips: Sequence[Row], size: Size) -> dict[str, Any]:
    """Everything that is reported, as plain JSON."""
    sweep = [row for row in clips if "network" in row]
    rows = [
        row | {"moving_fidelity": in_motion(row["fidelity"], row["motion"])}
        for row in clips
        if "method" in row
    ]
    tried = {t: [r for r in rows if r["token"] == t] for t in size.tokens if choices(t)}
    kinds = {k: [r for r in rows if r["token"] in tokens] for k, tokens in KINDS.items()}
    return {
        "machine": machine(),
        "size": {"tokens": size.tokens, "prompts": size.prompts, "steps": size.steps},
        "methods": {kind: of_methods(of, METHODS) for kind, of in kinds.items()},
        "against_injection": {
            kind: {m: paired(of, m, NAIVE, MEASURES, CLIP) for m in METHODS if m != NAIVE}
            for kind, of in kinds.items()
        },
        "against_ours": {kind: less_ours(of, METHODS) for kind, of in kinds.items()}
        | {f"{token} alone": less_ours(of, choices(token)) for token, of in tried.items()},
        "choices": {t: of_methods(of, [OURS, *choices(t)]) for t, of in tried.items()},
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
    }


def of_methods(rows: Sequence[Row], methods: Iterable[str]) -> dict[str, dict[str, float]]:
    return {m: means((r for r in rows if r["method"] == m), MEASURES) for m in methods}


def less_ours(rows: Sequence[Row], methods: Iterable[str]) -> dict[str, dict[str, float]]:
    """Without the still: it has the prompts, but not their seeds."""
    others = (m for m in methods if m not in (OURS, STILL))
    return {m: paired(rows, m, OURS, MEASURES, CLIP) for m in others}


# ------------------------------------------------------------------------------ pictures
def draw(out: Path, results: dict[str, Any]) -> None:
    """Bars of every measure, and motion against scale."""
    bars(out / "fidelity.png", results["methods"], TITLES, list(METHODS))
    figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for network, colour in zip(results["sweep"], ("#2a6fdb", "#d9622b"), strict=False):
        values = results["sweep"][network]
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
    axis.legend(fontsize=8)
    figure.savefig(out / "scale_sweep.png", dpi=120)
    plt.close(figure)


def clips_side_by_side(out: Path, bench: Bench) -> None:
    """The first prompt of each customization, by every method."""
    rows, clips = [], []
    for token in bench.size.tokens:
        files = [read_tensors(shown(out, token, m)) for m in METHODS]
        clips.append([tensors["frames"] for tensors, _ in files])
        rows.append(files[1][1]["prompt"])
    heads = [textwrap.fill(m, 13, break_on_hyphens=False) for m in METHODS]
    show.clip_grid(out / "fidelity.gif", heads, rows, clips)


# -------------------------------------------------------------------------------- report
def write(page: Path, out: Path, results: dict[str, Any]) -> None:
    """The page of figures, and its pictures beside it."""
    pictures = page.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for name in ("fidelity.png", "scale_sweep.png", "fidelity.gif"):
        (pictures / name).write_bytes((out / name).read_bytes())
    size = results["size"]
    lines = [
        f"`make fidelity`, commit {results['commit']}, {results['machine']}, "
        f"{results['seconds']} s. "
        f"{len(size['tokens'])} customizations of the shapes world ({', '.join(size['tokens'])}), "
        f"{size['prompts']} prompts each, the same seeds for every method; {size['steps']} steps "
        "of training. Mean and standard error.",
        "",
    ]
    for kind in KINDS:
        lines += [f"**{kind.capitalize()}**", "", *table(results["methods"][kind], TITLES), ""]
    for token, tried in results["choices"].items():
        lines += [f"**Choices** ({token} alone)", "", *table(tried, TITLES), ""]
    lines += ["**Still-Moving against injection**, same prompt and seed:", ""]
    for kind in KINDS:
        ours = results["against_injection"][kind][OURS]
        measures = (
            f"{title} {ours[m]:+.3f} ± {ours[f'{m}_error']:.3f}" for m, title in TITLES.items()
        )
        lines.append(f"- {kind}: " + ", ".join(measures))
    for kind, differences in results["against_ours"].items():
        lines += ["", f"**Less Still-Moving**, same prompt and seed: {kind}", ""]
        lines += table(differences, TITLES)
    lines += [
        "",
        "![Measures](pictures/fidelity.png)",
        "![Clips side by side](pictures/fidelity.gif)",
        "![Motion against scale](pictures/scale_sweep.png)",
    ]
    put_tables(page, "Fidelity", "\n".join(lines))
