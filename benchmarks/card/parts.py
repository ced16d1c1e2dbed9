"""The parts of the kit: what each measures, by which command, and how long it may take.

The most important first: where time runs out, what comes last is missing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """limit_s: on one H100; a part that takes longer is ended, and keeps the lines it printed."""

    name: str
    limit_s: int
    command: list[str]


@dataclass(frozen=True)
class Places:
    """What the parts need of the machine."""

    comfyui: Path
    animatediff: Path | None  # AnimateDiff-Evolved, if it is there
    truth: Path  # the CPU's latents
    files: Path  # a folder for SD1.5's size in random numbers, which two parts share


def full_parts(places: Places) -> list[Part]:
    """For a card, at SD1.5's size; 8 minutes in all."""
    files = ["--files", str(places.files)]
    evolved = ["--animatediff", str(places.animatediff)] if places.animatediff else []
    sampling = ["--size", "64", "--rounds", "2", "--steps", "4", "--device", "gpu", *evolved]
    return [
        graphs(places, "dynamic", ["fp16", "bf16", "fp8"], 70),
        training("training, Motion Adapter", motion_ways("full"), 110),
        training("training, Spatial Adapter", spatial_ways("full"), 60),
        part("park and unpark", 40, "card.handover", "--size", "full"),
        training("training, 256 x 256", small_ways("quarter"), 45),
        part("sampling", 75, "host.sampling", *on(places), *files, *sampling, "--dtype", "float16"),
        graphs(places, "normal", ["fp16", "bf16", "fp8"], 50),
        graphs(places, "lowvram", ["fp16", "bf16", "fp8"], 50),
        part("a job's first step", 60, "card.first_step", "--size", "full", *files),
        part(
            "prompts beside a job", 110, "training.latency", *on(places), *latency(3, 50, "yield")
        ),
        training("training, compiled", compiled_ways("full"), 120),
    ]


def dry_parts(places: Places) -> list[Part]:
    """Every part at a small size: whether the kit works, and no figure that means anything."""
    files = ["--files", str(places.files)]
    evolved = ["--animatediff", str(places.animatediff)] if places.animatediff else []
    sampling = ["--size", "8", "--rounds", "1", "--steps", "1", "--device", "gpu", *evolved]
    return [
        graphs(places, "dynamic", ["fp16", "bf16"], 200),
        graphs(places, "half", ["fp16", "bf16"], 200),
        graphs(places, "novram", ["fp16", "bf16"], 200),
        training("training, Motion Adapter", short(motion_ways("tiny")), 200),
        training("training, Spatial Adapter", short(spatial_ways("tiny")), 200),
        part("park and unpark", 100, "card.handover", "--size", "tiny"),
        part("sampling", 200, "host.sampling", *on(places), *files, *sampling, "--shapes"),
        part("a job's first step", 100, "card.first_step", "--size", "tiny", *files),
        part("prompts beside a job", 600, "training.latency", *on(places), *latency(1, 2, "yield")),
    ]


def part(name: str, limit_s: int, module: str, *arguments: str) -> Part:
    return Part(name, limit_s, [sys.executable, str(BENCHMARKS), module, *arguments])


def on(places: Places) -> list[str]:
    return ["--comfyui", str(places.comfyui)]


def latency(repeats: int, steps: int, *policies: str) -> list[str]:
    chosen = ["--policies", *policies] if policies else []
    return [
        *chosen,
        "--json",
        "--device",
        "gpu",
        "--repeats",
        str(repeats),
        "--image-steps",
        str(steps),
    ]


def truth(places: Places) -> Part:
    """Before the graphs, where no bundle brought the CPU's latents."""
    paths = [*on(places), "--truth", str(places.truth), "--mode", "cpu"]
    return part("the CPU's latents", 120, "card.graphs", *paths)


def graphs(places: Places, mode: str, weights: list[str], limit_s: int) -> Part:
    arguments = [*on(places), "--truth", str(places.truth), "--mode", mode, "--weights", *weights]
    return part(f"graphs, {mode}", limit_s, "card.graphs", *arguments)


def training(name: str, ways: list[dict[str, Any]], limit_s: int) -> Part:
    return part(name, limit_s, "training.steps", json.dumps(ways))


# Steps of a way that are not timed, and those that are.
COUNTS = {"warm": 4, "steps": 12}
CARD = {"dtype": "bfloat16", "attention": "any", **COUNTS}
PLAIN = {"loop": "plain", "tier": "diffusers", "cached": False, "autocast": True, **COUNTS}
ONLY = ("flash", "efficient", "cudnn", "products")
TIERS = ("top", "two", "all")


def motion_ways(size: str) -> list[dict[str, Any]]:
    """A tutorial's loop, ours, its tiers, ways to attend over frames, and its optimizer."""
    base = {"kind": "motion", "size": size}
    ours = base | CARD
    return [
        base | PLAIN,
        ours | {"count": True},
        ours | {"tier": "all"},
        *[ours | {"temporal": kind} for kind in ONLY],
        *[ours | {"tier": tier} for tier in TIERS[:2]],
        ours | {"fused": False},
    ]


def spatial_ways(size: str) -> list[dict[str, Any]]:
    base = {"kind": "spatial", "size": size}
    return [base | PLAIN, *[base | CARD | {"tier": tier} for tier in ("none", *reversed(TIERS))]]


def small_ways(size: str) -> list[dict[str, Any]]:
    """Both adapters at a quarter of the pixels, in the fastest tier and in the smallest."""
    kinds = ("motion", "spatial")
    return [{"kind": k, "size": size, **CARD, "tier": t} for k in kinds for t in ("none", "all")]


def compiled_ways(size: str) -> list[dict[str, Any]]:
    return [{"kind": k, "size": size, **CARD, "compiled": True} for k in ("motion", "spatial")]


def short(ways: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [way | {"warm": 0, "steps": 2} for way in ways]
