"""What the lines of a run come to: the goals of one H100, and a page of figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..training.goals import MFU, MINUTES, MOST_GB, SPEED, STEPS, TERAFLOP

Line = dict[str, Any]
LATENT = 64  # of SD1.5's own 512 pixels; smaller ones say nothing about time


def goals(lines: list[Line]) -> list[Line]:
    """Each goal with what was measured: reached, not reached, or not measured."""
    ours = [line for line in lines if line.get("way", {}).get("loop") == "ours" and timed(line)]
    rate = next((line["tflops"]["bfloat16"] for line in lines if "tflops" in line), None)
    met: list[Line] = []

    def goal(name: str, value: float | None, reached: bool) -> None:
        state = "not measured" if value is None else "reached" if reached else "not reached"
        met.append({"goal": name, "value": value and float(f"{value:.3g}"), "state": state})

    for kind in STEPS:
        full = [line["seconds"] for line in ours if is_of(line, kind, "full")]
        fastest = min(full, default=None)
        plain = [line["seconds"] for line in lines if is_of(line, kind, "full", "plain")]
        speed = plain[0] / fastest if plain and fastest else None
        goal(f"{kind}: {SPEED} times the plain loop", speed, (speed or 0) >= SPEED)
        mfu = TERAFLOP[kind] / fastest / rate if fastest and rate else None
        goal(f"{kind}: MFU of {MFU}", mfu, (mfu or 0) >= MFU)
        minutes = fastest and fastest * STEPS[kind] / 60
        name = f"{kind}: {STEPS[kind]} steps in under {MINUTES[kind]} minutes"
        goal(name, minutes, (minutes or 0) < MINUTES[kind])
        for size, (pixels, most) in MOST_GB.items():
            smallest = [line for line in ours if is_of(line, kind, size)]
            used = [n["peak_bytes"] / 1e9 for n in smallest if n["way"]["tier"] == "all"]
            name = f"{kind}: 16 x {pixels} x {pixels} under {most} GB in the smallest tier"
            goal(name, min(used, default=None), min(used, default=0) < most)
    sampled = [line["ratio_median"] for line in lines if line.get("latent") == LATENT]
    merged = sampled[-1]["Spatial Adapter, merged"] if sampled else None
    goal("sampling, merged over plain: 1.00", merged, (merged or 9) < 1.02)
    beyond = first(lines, "steps_beyond_1.1_times_alone", {}).get("yield")
    goal("a prompt waits at most one step for a job", beyond, (beyond or 0) <= 1)
    graphs = [line for line in lines if line.get("measure") == "graphs"]
    wrong = float(sum(len(line["beyond"]) + len(line["failed"]) for line in graphs))
    goal("graphs off by more than rounding: 0", wrong if graphs else None, wrong == 0)
    return met


def timed(line: Line) -> bool:
    return "seconds" in line and "failed" not in line


def is_of(line: Line, kind: str, size: str, loop: str = "ours") -> bool:
    way = line.get("way", {})
    return timed(line) and (way.get("kind"), way.get("size"), way.get("loop")) == (kind, size, loop)


def first(lines: list[Line], name: str, default: Any) -> Any:
    return next((line[name] for line in lines if name in line), default)


def write_page(texts: Iterable[str]) -> None:
    """docs/results/tables/card.md from the lines of a run, in the order in which they came."""
    from ..common.results_page import TABLES, put_tables

    lines = [json.loads(text) for text in texts if text.startswith("{")]
    put_tables(TABLES / "card.md", "On a card", page(lines))


def page(lines: list[Line]) -> str:
    """Tables in Markdown: the machine, the goals, the graphs, training, and the rest as it came."""
    machine = next(line for line in lines if line["part"] == "machine")
    rates = ", ".join(f"{name} {rate:g}" for name, rate in machine["tflops"].items())
    text = [
        f"{machine['card']} ({machine['memory_gib']} GiB, compute {machine['capability']}), torch"
        f" {machine['torch']}, commit {machine['commit']}; matrix rate in TFLOP/s: {rates}",
        "", "| goal | measured | |", "|---|---|---|",
    ]  # fmt: skip  # what it is of, then the head of the first table
    text += [f"| {g['goal']} | {shown(g['value'])} | {g['state']} |" for g in goals(lines)]
    text += ["", "## Graphs, held against a CPU", ""]
    text += ["| mode | weights | graphs | worst | off | plain is off | beyond | failed |"]
    text += ["|---|---|---|---|---|---|---|---|"]
    text += [graphs_row(line) for line in lines if line.get("measure") == "graphs"]
    text += ["", "## Training", ""]
    text += [
        "| adapter | size | loop | what differs | s/step | peak GB |",
        "|---|---|---|---|---|---|",
    ]
    text += [training_row(line) for line in lines if "way" in line]
    text += ["", "## The rest, as it was printed", "", "```"]
    rest = ("machine", "goals")
    text += [
        json.dumps(line)
        for line in lines
        if "way" not in line and line.get("measure") != "graphs" and line["part"] not in rest
    ]
    return "\n".join([*text, "```"])


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def graphs_row(line: Line) -> str:
    cells = [line["mode"], line["weights"], line["graphs"], line["worst"], shown(line["worst_off"])]
    cells += [shown(line["plain_off"]), ", ".join(line["beyond"]), ", ".join(line["failed"])]
    return "| " + " | ".join(map(str, cells)) + " |"


# What a way has that its rows need not say: a row names where it differs.
USUAL = {"tier": "none", "temporal": "any", "fused": True, "compiled": False}


def training_row(line: Line) -> str:
    way = line["way"]
    differs = ", ".join(f"{k}: {way[k]}" for k, v in USUAL.items() if way[k] != v)
    cells = [way["kind"], way["size"], way["loop"], differs]
    if timed(line):
        cells += [f"{line['seconds']:.4g}", f"{line['peak_bytes'] / 1e9:.3g}"]
    else:
        cells += [f"failed: {line['failed']}", ""]
    return "| " + " | ".join(cells) + " |"
