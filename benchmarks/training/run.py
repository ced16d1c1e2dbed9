"""Training speed: a tutorial's loop against the trainer's, lever by lever and tier by tier.

``python benchmarks training [--json] [--quick] [--docs PAGE]``. Random weights in
SD1.5's topology with a v2 motion module; on a card at full size (16 frames of 512 x 512, batch 1),
on a CPU at a fifth of the widths. Each line is measured in a process of its own (steps.py).
Prints tables in Markdown, or one JSON object; what it is doing goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..common.results_page import TABLES, commit, put_tables
from .goals import MFU, MINUTES, MOST_GB, SPEED, STEPS, TERAFLOP
from .steps import SIZES, Way, pick_device

BENCHMARKS = Path(__file__).resolve().parents[1]
TIERS = ("none", "top", "two", "all")
KINDS = ("motion", "spatial")
LIMIT_S = 600  # for one line


@dataclass(frozen=True)
class Line:
    """A row: what it is called, how it is measured, and which row it is compared with."""

    name: str
    way: Way
    against: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its times mean nothing")
    parser.add_argument(
        "--docs", type=Path, help=f"page of figures to write ({TABLES.name}/training_speed.md)"
    )
    parser.add_argument("--kind", choices=KINDS, help="one adapter; both otherwise")
    options = parser.parse_args()
    card = pick_device().type == "cuda"
    kinds = [options.kind] if options.kind else list(KINDS)
    report = about(card, options.quick)
    for kind in kinds:
        lines = quick_lines(kind) if options.quick else full_lines(kind, card)
        report["kinds"][kind] = run_lines(lines, report["tflops"])
    report["goals"] = goals(report, card and not options.quick)
    if options.docs:
        put_docs(options.docs, report)
    print(json.dumps(report) if options.json else markdown(report))


def put_docs(page: Path, report: dict[str, Any]) -> None:
    """The tables, between the marks of their section."""
    put_tables(page, "Training speed", markdown(report))


def about(card: bool, quick: bool) -> dict[str, Any]:
    """What a number is worth only together with."""
    rates = {} if quick else {d: child({"rate": d})["tflops"] for d in ("float32", "bfloat16")}
    return {
        "device": torch.cuda.get_device_name() if card else processor(),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "torch": torch.__version__,
        "size": "tiny" if quick else "full" if card else "small",
        "tflops": rates,
        "kinds": {},
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def quick_lines(kind: str) -> list[Line]:
    base = Way(kind, "tiny", warm=1, steps=2)  # type: ignore[arg-type]  # one of KINDS
    lines = [Line("the trainer's loop", replace(base, count=True), None)]
    if kind == "motion":
        plain = replace(base, loop="plain", tier="diffusers", cached=False, autocast=True)
        lines = [Line("plain loop", plain, None), replace(lines[0], against="plain loop")]
        lines.append(Line("tier all", replace(base, tier="all"), "the trainer's loop"))
    return lines


def full_lines(kind: str, card: bool) -> list[Line]:
    """Levers one at a time, each on top of those that the trainer keeps; then the tiers."""
    size, dtype = ("full", "bfloat16") if card else ("small", "float32")
    long = {"warm": 20, "steps": 50} if card else {}
    plain = Way(kind, size, loop="plain", tier="diffusers", cached=False, autocast=True, **long)  # type: ignore[arg-type]  # one of KINDS
    cached = replace(plain, cached=True)
    tier = replace(cached, tier="none")
    frozen = replace(tier, loop="ours", autocast=False, dtype=dtype, fused=False, ahead=False)
    fused = replace(frozen, fused=True)
    ours = replace(fused, ahead=True, attention="flash", count=True)
    wide = replace(ours, count=False)
    lines = [
        Line("plain loop", plain, None),
        Line("cached latents and text", cached, "plain loop"),
        Line("memory tier none", tier, "cached latents and text"),
        Line(f"the trainer's loop, frozen weights in {dtype}", frozen, "memory tier none"),
        Line("fused AdamW, guarded on the device", fused, None),
    ]
    lines[-1] = replace(lines[-1], against=lines[-2].name)
    if card:  # on a CPU there is nobody to wait for
        lines.append(Line("host one step ahead", ours, lines[-1].name))
    else:
        lines.append(Line("the trainer as it is (attention flash only)", ours, lines[-1].name))
        half = replace(wide, dtype="bfloat16")
        lines.append(Line("frozen weights in bfloat16", half, lines[-1].name))
    now = next(line.name for line in lines if line.way is ours)
    lines += [
        Line("attention without flash", replace(wide, attention="math"), now),
        Line("channels last", replace(wide, channels_last=True), now),
    ]
    if card:  # the trainer compiles nothing for a CPU, where this would take minutes
        compiled = replace(wide, compiled=True, attention="any")
        both = replace(compiled, channels_last=True)
        lines.append(Line("compiled", compiled, now))
        lines.append(Line("compiled, channels last", both, "compiled"))
    lines += [Line(f"tier {t}", replace(wide, tier=t), now) for t in TIERS[1:]]
    if card:
        small = replace(wide, size="quarter")
        lines += [Line(f"256 x 256, tier {t}", replace(small, tier=t), None) for t in TIERS]
    return lines


def run_lines(lines: list[Line], tflops: dict[str, float]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    operations = None
    for line in lines:
        sys.stderr.write(f"{line.way.kind}: {line.name}\n")
        row = {"name": line.name, "against": line.against, "way": asdict(line.way)}
        row |= child(asdict(line.way))
        operations = operations or row.get("operations")
        rows[line.name] = row
    for row in rows.values():
        derive(row, rows, operations, tflops)
    return list(rows.values())


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """What steps.py measures; {"failed": why} when it cannot."""
    command = [sys.executable, str(BENCHMARKS), "training.steps", json.dumps(spec)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {LIMIT_S} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def derive(row: dict, rows: dict, operations: int | None, tflops: dict[str, float]) -> None:
    """Ratios to the row before and to the first, and the share of the device's matrix rate."""
    if "failed" in row:
        return
    way, first = row["way"], next(iter(rows.values()))
    for name, other in (("against", rows.get(row["against"])), ("first", first)):
        if other is not None and other is not row and "failed" not in other:
            row[f"speed_over_{name}"] = other["seconds"] / row["seconds"]
            row[f"memory_over_{name}"] = row["peak_bytes"] / other["peak_bytes"]
    work = {"full": TERAFLOP[way["kind"]], "quarter": None}.get(
        way["size"], operations and operations / 1e12
    )
    rate = tflops.get("bfloat16" if way["autocast"] else way["dtype"])
    if work and rate:
        row["mfu"] = work / row["seconds"] / rate


def goals(report: dict[str, Any], measured: bool) -> list[dict[str, str]]:
    """The goals of training on an H100, and whether they were reached here."""
    goals: list[dict[str, str]] = []

    def goal(name: str, value: float | None, reached: bool, unit: str = "") -> None:
        known = measured and value is not None
        state = ("reached" if reached else "not reached") if known else "not measured here (no GPU)"
        number = f"{value:.2f}{unit}" if known and value is not None else "-"
        goals.append({"goal": name, "value": number, "state": state})

    def lowest(kind: str, key: str, size: str = "full", tier: str | None = None) -> float | None:
        rows = [r for r in report["kinds"].get(kind, []) if key in r and r["way"]["size"] == size]
        ours = [r for r in rows if r["way"]["loop"] == "ours" and tier in (None, r["way"]["tier"])]
        return min((r[key] for r in ours), default=None)

    for kind, minutes in MINUTES.items():
        rows = report["kinds"].get(kind, [])
        speed = max((r.get("speed_over_first", 0.0) for r in rows), default=None)
        goal(f"{kind}: {SPEED} times the plain loop's speed", speed, (speed or 0) >= SPEED)
        mfu = max((r.get("mfu", 0.0) for r in rows if r["way"]["loop"] == "ours"), default=None)
        goal(f"{kind}: MFU of {MFU}", mfu, (mfu or 0) >= MFU)
        step = lowest(kind, "seconds")
        whole = None if step is None else step * STEPS[kind] / 60
        name = f"{kind}: {STEPS[kind]} steps in under {minutes} minutes"
        goal(name, whole, whole is not None and whole < minutes, " min")
        for size, (pixels, most) in MOST_GB.items():
            used = lowest(kind, "peak_bytes", size, "all")
            used = None if used is None else used / 1e9
            name = f"{kind}: 16 x {pixels} x {pixels} under {most} GB in tier all"
            goal(name, used, used is not None and used < most, " GB")
    return goals


def markdown(report: dict[str, Any]) -> str:
    rates = ", ".join(f"{d} {r:.3g}" for d, r in report["tflops"].items())
    text = [
        f"{report['device']}, {report['threads']} threads, torch {report['torch']}, commit "
        f'{report["commit"]}, size "{report["size"]}" {SIZES[report["size"]]}; measured matrix '
        f"rate in TFLOP/s: {rates or 'not measured'}"
    ]
    for kind, rows in report["kinds"].items():
        text += ["", f"### {kind.capitalize()} Adapter", ""]
        text += ["| | s/step | speed | against | peak MiB | memory | MFU |"]
        text += ["|---|---|---|---|---|---|---|"]
        text += [table_row(row) for row in rows]
    text += ["", "| goal (one H100) | here | |", "|---|---|---|"]
    text += [f"| {g['goal']} | {g['value']} | {g['state']} |" for g in report["goals"]]
    return "\n".join(text)


def table_row(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"| {row['name']} | failed: {row['failed']} | | | | | |"
    speed, memory = (row.get(f"{quantity}_over_against") for quantity in ("speed", "memory"))
    cells = [
        row["name"],
        f"{row['seconds']:.3f}",
        f"{speed:.2f}x" if speed else "",
        row["against"] if speed else "",
        f"{row['peak_bytes'] / 2**20:.0f}",
        f"{memory:.2f}x" if memory else "",
        f"{row['mfu']:.2f}" if "mfu" in row else "",
    ]
    return "| " + " | ".join(cells) + " |"
