"""Which card this is, and which packages: what every figure is worth only together with."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from contextlib import suppress

import torch

from ..common.results_page import commit
from ..training.steps import matmul_rate

PACKAGES = ("diffusers", "peft", "transformers", "triton", "comfy-kitchen", "comfy-aimdo", "av")


def main() -> None:
    """Print one JSON line. ``--dry``: a matrix rate that means nothing, in no time."""
    side = 256 if "--dry" in sys.argv else None
    rates = {d: float(f"{matmul_rate(d, 5, side):.3g}") for d in ("float32", "bfloat16")}
    card = torch.cuda.get_device_properties(0)
    versions = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    free, total = torch.cuda.mem_get_info(0)
    print(
        json.dumps(
            {
                "card": card.name,
                "capability": f"{card.major}.{card.minor}",
                "memory_gib": round(total / 2**30, 1),
                "free_gib": round(free / 2**30, 1),
                "torch": torch.__version__,
                "python": platform.python_version(),
                "commit": commit(),
                "tflops": rates,
                "packages": versions,
            }
        )
    )
