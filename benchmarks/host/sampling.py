"""Sampling with adapters over sampling without: time and peak memory as ratios of one run, JSON.

``python benchmarks host.sampling --comfyui ~/comfy/ComfyUI [--animatediff PATH] [--size 16]
[--only WAY ...]``. Full size SD1.5 and a v2 motion module with random weights. Every way is sampled
in every round, in an order that changes, so that a noisy machine slows them all; ratios are to the
plain motion module.
Two controls have no adapter of ours, and tell what its place in memory does to a weight: the plain
motion module on the same file loaded once more and copied out of it, and with the Spatial Adapter
as a LoRA for images.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...adapters.files.checkpoint import read_unet
from ...adapters.files.spatial_lora import export_lora

PLAIN = "motion module"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI checkout")
    parser.add_argument("--animatediff", type=Path, help="a checkout of AnimateDiff-Evolved")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="sampling steps, CFG on")
    parser.add_argument("--size", type=int, default=16, help="of the latents; times 8 in pixels")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--only", nargs="*", default=[""], help="ways with this in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        boot(options.comfyui, Path(folder), options.device)
        ways = build(Path(folder), options.animatediff)
        chosen = [n for n in ways if n == PLAIN or any(part in n for part in options.only)]
        ways = {name: ways[name] for name in chosen}
        print(json.dumps(measure(ways, options.rounds, options.steps, options.size)))


def boot(comfyui: Path, base: Path, device: str) -> None:
    """ComfyUI in this process, as its main.py begins, and the tests' helpers."""
    sys.argv = ["main.py", *(["--cpu"] if device == "cpu" else []), "--base-directory", str(base)]
    sys.path.insert(0, str(comfyui))
    importlib.import_module("comfy.options").enable_args_parsing()
    importlib.import_module("utils.extra_config")
    importlib.import_module("nodes")


def build(folder: Path, animatediff: Path | None) -> dict[str, Any]:
    """A MODEL for each way, by name."""
    from helpers.host import full_size

    from ...adapters.host.motion_adapter import apply_motion_adapter
    from ...adapters.host.motion_module import apply_motion_module, load_motion_module
    from ...adapters.host.spatial_adapter import apply_spatial_adapter

    unet, module = full_size.write_files(folder, "v2")
    model = full_size.load_model(unet)
    plain = apply_motion_module(model, load_motion_module(module))
    # Any: the helpers reach the pack by its name, still_moving, and so its classes are others.
    spatial: Any = full_size.spatial_adapter(model)
    motion: Any = full_size.motion_lora("v2")
    ways = {
        PLAIN: plain,
        "control: loaded and copied": apply_motion_module(
            copied(full_size.load_model(unet)), load_motion_module(module)
        ),
        "control: the adapter as a LoRA": image_lora(plain, spatial, unet, folder),
        "Motion Adapter at -0.5": apply_motion_adapter(plain, motion, -0.5, "motion")[0],
        "Spatial Adapter, merged": apply_spatial_adapter(plain, spatial, 1.0, "merged", "s")[0],
        "Spatial Adapter, runtime": apply_spatial_adapter(plain, spatial, 1.0, "runtime", "s")[0],
    }
    if animatediff is not None:
        ways["AnimateDiff-Evolved"] = full_size.animatediff_evolved(animatediff, model, module)
    return ways


def copied(model: Any) -> Any:
    """The MODEL, its weights in memory of their own, as merged ones are, and not in the file's."""
    for weight in model.model.diffusion_model.parameters():
        weight.data = weight.data.clone()
    return model


def image_lora(model: Any, spatial: Any, unet: Path, folder: Path) -> Any:
    """The adapter exported and merged by what ComfyUI's own LoRA node calls."""
    import comfy.sd
    import comfy.utils

    path = folder / "lora.safetensors"
    export_lora(spatial, read_unet(unet), path)
    lora = comfy.utils.load_torch_file(str(path))
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]


def measure(ways: dict[str, Any], rounds: int, steps: int, size: int) -> dict[str, Any]:
    """Seconds of each way in each round after a warm-up, and what they come to."""
    import comfy.model_management

    from helpers.host import full_size

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, int] = {}
    names = list(ways)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            # Loading and merging are done before the clock starts: they happen once a queue.
            full_size.sample(ways[name], 1)
            spent, peak = clocked(lambda name=name: full_size.sample(ways[name], steps, size))
            peaks[name] = max(peak, peaks.get(name, 0))
            if turn:
                seconds[name].append(spent)
    plain = seconds[PLAIN]
    ratios = {n: [a / b for a, b in zip(s, plain, strict=True)] for n, s in seconds.items()}
    return {
        "device": str(comfy.model_management.get_torch_device()),
        "frames": full_size.FRAMES,
        "latent": size,
        "steps": steps,
        "seconds_median": {n: round(statistics.median(s), 3) for n, s in seconds.items()},
        "ratio_median": {n: round(statistics.median(r), 3) for n, r in ratios.items()},
        "ratio_range": {n: [round(min(r), 3), round(max(r), 3)] for n, r in ratios.items()},
        "peak_memory_mib": {n: round(p / 2**20) for n, p in peaks.items()},
    }


def clocked(act: Callable[[], Any]) -> tuple[float, int]:
    """(seconds, peak bytes): of the card, or of this whole process on the CPU."""
    on_card = torch.cuda.is_available()
    if on_card:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    act()
    if on_card:
        torch.cuda.synchronize()
        return time.perf_counter() - start, torch.cuda.max_memory_allocated()
    spent = time.perf_counter() - start
    return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
