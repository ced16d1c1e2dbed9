"""Measures one way to train, in a process of its own, so that its memory peak is its own.

``python benchmarks training.steps '{"kind": "motion", "size": "small"}'`` prints one JSON line.
``run.py`` starts it once for each line of its tables. Of a list it prints a line for each way, one
after the other in one process, which saves the imports where time is short.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...training.network.compiling import compile_segments
from . import loops
from .attention import TemporalAttention, set_temporal_attention


@dataclass(frozen=True)
class Way:
    """One way to take steps. The first levers are those of the plain loop, the last of ours."""

    kind: Literal["motion", "spatial"] = "motion"
    size: str = "small"
    loop: Literal["plain", "ours"] = "ours"
    dtype: str = "float32"  # of the frozen weights
    tier: str = "none"  # "diffusers": its own checkpointing
    attention: Literal["any", "flash", "math"] = "any"  # the only back end that may be used
    temporal: TemporalAttention = "any"  # the same of the motion modules alone, where it is "any"
    cached: bool = True
    autocast: bool = False
    fused: bool = True
    ahead: bool = True
    channels_last: bool = False
    compiled: bool = False
    count: bool = False  # floating-point operations of one step
    warm: int = 2
    steps: int = 8


def main() -> None:
    torch.set_float32_matmul_precision("highest")
    given = json.loads(sys.argv[1])
    if "rate" in given:
        print(json.dumps({"tflops": matmul_rate(given["rate"])}))
        return
    for spec in given if isinstance(given, list) else [given]:
        row = measure(Way(**spec)) if isinstance(given, dict) else measure_or_say(Way(**spec))
        print(json.dumps(row), flush=True)


def measure_or_say(way: Way) -> dict[str, Any]:
    """What ``measure`` measures, or why it failed, so that the next way has its turn."""
    try:
        row = measure(way)
    except Exception as error:
        row = {"failed": f"{type(error).__name__}: {error}"[:300]}
    gc.collect()  # of an error, too, which holds what it was about
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {"way": asdict(way), **row}


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(way: Way) -> dict[str, Any]:
    """Seconds a step, and the bytes at the peak, over those of a process that has built nothing."""
    device, size = pick_device(), SIZES[way.size]
    began = resident()
    training_type = loops.StageTraining if way.fused else loops.SyncedTraining
    training = loops.new_training(
        way.kind, loops.Size(*size), device, getattr(torch, way.dtype), training_type
    )
    if way.tier == "diffusers":
        training.unet.enable_gradient_checkpointing()
    else:
        training.tiers.set(way.tier)
    set_temporal_attention(training.unet, way.temporal)
    if way.channels_last:
        training.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub
    if way.compiled:
        compile_segments(training.tiers)
    encoders = None if way.cached else loops.Encoders(loops.Size(*size), device)
    loop = loops.PlainLoop(training, encoders, way.autocast) if way.loop == "plain" else None
    built = resident()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    backend = {"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}.get(way.attention)
    with sdpa_kernel(backend) if backend is not None else nullcontext():
        operations = count(loop or training) if way.count else None
        started = time.perf_counter()
        take(loop or training, way.warm, way.ahead)
        warmed = time.perf_counter() - started
        seconds = pace(take(loop or training, way.steps, way.ahead))
    return {
        "seconds": seconds,
        "warm_up_s": warmed,
        "peak_bytes": peak() - began,
        "built_bytes": built - began,
        "empty_bytes": began,
        "operations": operations,
    }


def take(loop: Any, steps: int, ahead: bool) -> list[float]:
    """When the first step began and when each one ended, in seconds."""
    ends = [time.perf_counter()]
    for _ in range(steps):
        if hasattr(loop, "launch"):
            loop.launch()
            list(loop.read(1 if ahead and loop.device.type == "cuda" else 0))
        else:
            loop.advance()
        ends.append(time.perf_counter())
    if hasattr(loop, "read"):
        list(loop.read())
        ends[-1] = time.perf_counter()
    return ends


def pace(ends: list[float]) -> float:
    """Seconds of a step, over pairs, because sources take turns and differ.

    The median on a card; on a CPU, which other programs slow down and none speeds up, the best.
    """
    pairs = [(after - before) / 2 for before, after in zip(ends[:-2:2], ends[2::2], strict=True)]
    return median(pairs) if torch.cuda.is_available() else min(pairs)


def count(loop: Any) -> int:
    """Floating-point operations of one forward and backward pass, 2 a multiply-add."""
    with FlopCounterMode(display=False) as counter:
        loop.advance()
    return counter.get_total_flops()


def resident() -> int:
    """Bytes held now: on the card, or by this process."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matmul_rate(dtype: str, tries: int = 10, n: int | None = None) -> float:
    """Teraflops of the device at one large product of matrices, the best of some tries.

    n: the matrices' side; None takes one that fills the device.
    """
    device = pick_device()
    n = n or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(n, n, device=device).to(getattr(torch, dtype)) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        torch.matmul(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e12


# (what SD1.5's widths are divided by, frames, pixels)
SIZES = {
    "full": (1, 16, 512),
    "quarter": (1, 16, 256),
    "small": (5, 8, 128),
    "tiny": (10, 4, 64),
}
