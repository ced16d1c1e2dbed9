"""How long a training job takes to give the card away, and to go on afterwards; JSON lines.

``python benchmarks card.handover [--size full]``. A prompt that comes while a job trains waits for
the step that is on its way, and then until the job has parked.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch

from ..training.loops import Size, new_training
from ..training.steps import SIZES

TURNS, WARM = 3, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    options = parser.parse_args()
    for kind in ("motion", "spatial"):
        print(json.dumps(measure(kind, options.size)), flush=True)
        torch.cuda.empty_cache()


def measure(kind: str, size: str) -> dict[str, object]:
    """Medians over turns, in seconds; what was given back, and what the process still holds."""
    device = torch.device("cuda")
    training = new_training(kind, Size(*SIZES[size]), device, torch.bfloat16)
    for _ in range(WARM):
        training.advance()
    times: dict[str, list[float]] = {}

    def timed(name: str, act: Callable[[], object]) -> None:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        act()
        torch.cuda.synchronize()
        times.setdefault(name, []).append(time.perf_counter() - begun)

    given_back, held = 0, 0
    for _ in range(TURNS):
        timed("step_s", training.advance)
        before = torch.cuda.mem_get_info()[0]
        timed("park_s", training.park)
        given_back = torch.cuda.mem_get_info()[0] - before
        held = torch.cuda.memory_reserved()
        timed("unpark_s", training.unpark)
        timed("first_step_s", training.advance)
    return {
        "measure": "handover",
        "kind": kind,
        "size": size,
        **{name: float(f"{median(seconds):.3g}") for name, seconds in times.items()},
        "given_back_bytes": given_back,
        "still_held_bytes": held,
    }
