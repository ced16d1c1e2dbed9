"""Sampling with adapters over sampling without: time and peak memory as ratios of one run, JSON.

``python benchmarks host.sampling --comfyui ~/comfy/ComfyUI [--animatediff PATH] [--size 16]
[--only WAY ...] [--device gpu]`` prints a line after each round. Full size SD1.5 and a v2 motion
module with random weights. Every way is sampled in every round, in an order that changes, so that a
noisy machine slows them all; ratios are to the plain motion module.
On a CPU two controls have no adapter of ours, and tell what its place in memory does to a weight:
the plain motion module on the same file loaded once more and copied out of it, and with the Spatial
Adapter as a LoRA for images.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..common.comfyui import boot

PLAIN = "motion module"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI checkout")
    parser.add_argument("--animatediff", type=Path, help="a checkout of AnimateDiff-Evolved")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="sampling steps, CFG on")
    parser.add_argument("--size", type=int, default=16, help="of the latents; times 8 in pixels")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--dtype", default="float32", help="that the model computes in")
    parser.add_argument("--files", type=Path, help="a folder that keeps the files of full size")
    parser.add_argument("--shapes", action="store_true", help="the shapes world in its place")
    parser.add_argument("--only", nargs="*", default=[""], help="ways with this in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = ["--cpu"] if options.device == "cpu" else []
        boot(options.comfyui, Path(folder), on_cpu)
        files = options.files or Path(folder)
        ways = shapes_ways() if options.shapes else full_ways(files, options)
        chosen = [n for n in ways if n == PLAIN or any(part in n for part in options.only)]
        ways = {name: ways[name] for name in chosen}
        sample = sampler(options.shapes, options.size)
        for so_far in measured(ways, options.rounds, options.steps, sample, options.size):
            print(json.dumps(so_far), flush=True)


def full_ways(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A MODEL of SD1.5's size for each way, by name."""
    import torch

    from helpers.host import full_size

    from ...adapters.host.motion_module import apply_motion_module, load_motion_module

    dtype = getattr(torch, options.dtype)
    unet, module = full_size.write_files(folder, "v2")
    model = full_size.load_model(unet, dtype)
    plain = apply_motion_module(model, load_motion_module(module))
    # Any: the helpers reach the pack by its name, still_moving, and so its classes are others.
    spatial: Any = full_size.spatial_adapter(model)
    motion: Any = full_size.motion_lora("v2")
    ways = {PLAIN: plain, **adapted(plain, motion, spatial)}
    if options.device == "cpu":  # what a place in memory does to a weight is a matter of CPUs
        ways["control: loaded and copied"] = apply_motion_module(
            copied(full_size.load_model(unet, dtype)), load_motion_module(module)
        )
        ways["control: the adapter as a LoRA"] = image_lora(plain, spatial, unet, folder)
    if options.animatediff is not None:
        evolved = full_size.animatediff_evolved(options.animatediff, model, module)
        ways["AnimateDiff-Evolved"] = evolved
    return ways


def shapes_ways() -> dict[str, Any]:
    """The same of the shapes world, which tells whether they run and nothing about time."""
    from helpers.host import world

    plain = world.moving()
    motion: Any = world.motion_adapter()
    spatial: Any = world.spatial_adapter()
    return {PLAIN: plain, **adapted(plain, motion, spatial)}


def adapted(plain: Any, motion: Any, spatial: Any) -> dict[str, Any]:
    """The adapters on a MODEL with a motion module, by name."""
    from ...adapters.host.motion_adapter import apply_motion_adapter
    from ...adapters.host.spatial_adapter import apply_spatial_adapter

    return {
        "Motion Adapter at -0.5": apply_motion_adapter(plain, motion, -0.5, "motion")[0],
        "Spatial Adapter, merged": apply_spatial_adapter(plain, spatial, 1.0, "merged", "s")[0],
        "Spatial Adapter, runtime": apply_spatial_adapter(plain, spatial, 1.0, "runtime", "s")[0],
    }


def copied(model: Any) -> Any:
    """The MODEL, its weights in memory of their own, as merged ones are, and not in the file's."""
    for weight in model.model.diffusion_model.parameters():
        weight.data = weight.data.clone()
    return model


def image_lora(model: Any, spatial: Any, unet: Path, folder: Path) -> Any:
    """The adapter exported and merged by what ComfyUI's own LoRA node calls."""
    import comfy.sd
    import comfy.utils

    from ...adapters.files.checkpoint import read_unet
    from ...adapters.files.spatial_lora import export_lora

    path = folder / "lora.safetensors"
    export_lora(spatial, read_unet(unet), path)
    lora = comfy.utils.load_torch_file(str(path))
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]


def sampler(shapes: bool, size: int) -> Callable[[Any, int], Any]:
    """Samples a MODEL in so many steps."""
    from helpers.host import full_size, world

    if shapes:
        return lambda model, steps: world.sample(model, full_size.FRAMES, steps=steps)
    return lambda model, steps: full_size.sample(model, steps, size)


def measured(
    ways: dict[str, Any], rounds: int, steps: int, sample: Callable[[Any, int], Any], size: int
) -> Iterator[dict[str, Any]]:
    """Seconds of each way in each round after a warm-up, and what they come to so far."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, int] = {}
    names = list(ways)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            # Loading and merging are done before the clock starts: they happen once a queue.
            sample(ways[name], 1)
            spent, peak = clocked(lambda name=name: sample(ways[name], steps))
            peaks[name] = max(peak, peaks.get(name, 0))
            if turn:
                seconds[name].append(spent)
        if turn:
            yield results(seconds, peaks) | {"rounds": turn, "steps": steps, "latent": size}


def results(seconds: dict[str, list[float]], peaks: dict[str, int]) -> dict[str, Any]:
    """Medians, and ratios to the plain motion module in the same round."""
    import comfy.model_management

    from helpers.host import full_size

    plain = seconds[PLAIN]
    ratios = {n: [a / b for a, b in zip(s, plain, strict=True)] for n, s in seconds.items()}
    return {
        "device": str(comfy.model_management.get_torch_device()),
        "frames": full_size.FRAMES,
        "seconds_median": {n: round(statistics.median(s), 3) for n, s in seconds.items()},
        "ratio_median": {n: round(statistics.median(r), 3) for n, r in ratios.items()},
        "ratio_range": {n: [round(min(r), 3), round(max(r), 3)] for n, r in ratios.items()},
        "peak_memory_mib": {n: round(p / 2**20) for n, p in peaks.items()},
    }


def clocked(act: Callable[[], Any]) -> tuple[float, int]:
    """(seconds, peak bytes): of the card, or of this whole process on the CPU."""
    import torch

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
