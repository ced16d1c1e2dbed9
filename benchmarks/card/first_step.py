"""What a job's start costs on the card, from the worker's process to its first step; JSON lines.

``python benchmarks card.first_step [--size full] [--files FOLDER]``. A Motion Adapter on random
files of SD1.5's size (written into FOLDER, or found there) and a small cached set. Twice: the
second time the files are in the system's cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from helpers import real_size, small

from ...training.jobs.job import Job, JobFolder
from ...training.recipes import recipe as recipes
from ..training.loops import Size, new_sets
from ..training.steps import SIZES

PATIENCE_S, LOOK_S = 120.0, 0.02
# What the worker reports, in its order: itself, network built, measured, one step.
MOMENTS = {"loading": "process_s", "running": "built_s", "held_out": "held_out_s", "step": "step_s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--files", type=Path, help="a folder for files of SD1.5's size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_files(options.files or folder, folder, options.size)
        for turn in (1, 2):
            print(json.dumps(measure(folder / f"job {turn}", files, turn)), flush=True)


def write_files(place: Path, folder: Path, size: str) -> dict[str, Path]:
    """A checkpoint, a motion module and a cached set, by what a job calls them."""
    if size == "tiny":
        return small.write_files(folder)
    files = {"checkpoint": place / "unet.safetensors", "motion_module": place / "mm_v2.safetensors"}
    if not files["checkpoint"].exists():
        real_size.write_sd15(files["checkpoint"], seed=1, parts=("unet",))
    if not files["motion_module"].exists():
        real_size.write_motion_module(files["motion_module"], "v2", seed=2)
    # Any: the helpers reach the pack by its name, still_moving, and so its classes are others.
    sets: Any = new_sets(Size(*SIZES["full"]))
    return files | {"frames": small.write_set(folder / "frames", sets["frames"])}


def measure(path: Path, files: dict[str, Path], turn: int) -> dict[str, Any]:
    """Seconds since the process was asked for until each moment; the job ends there."""
    frames = small.FRAMES if files["checkpoint"].name == "base.safetensors" else 16
    recipe = recipes.motion_adapter(steps=1000, frames=frames)
    job = Job(
        name="timed", recipe=recipe, checkpoint=str(files["checkpoint"]),
        motion_module=str(files["motion_module"]), sets={"frames": str(files["frames"])},
        adapters={}, device="cuda",
    )  # fmt: skip  # the files, then where
    folder = JobFolder.create(path, job)
    begun = time.time()
    worker = subprocess.Popen(small.command("train", "work", path))
    try:
        moments = seen(folder, worker, begun + PATIENCE_S)
    finally:
        worker.kill()
        worker.wait()
    return {"measure": "first step", "turn": turn} | {
        name: round(moments[event] - begun, 2)
        for event, name in MOMENTS.items()
        if event in moments
    }


def seen(folder: JobFolder, worker: subprocess.Popen[bytes], end: float) -> dict[str, float]:
    """When each moment was, in seconds since 1970. Raises RuntimeError when one does not come."""
    first: dict[str, float] = {}
    while "step" not in first:
        if folder.read_state().phase == "loading":
            first.setdefault("loading", time.time())
        for event in folder.read_events():
            first.setdefault(event.get("phase", event["event"]), event["time"])
        if "step" not in first and (worker.poll() is not None or time.time() > end):
            log = folder.log.read_text(encoding="utf-8")[-1000:] if folder.log.is_file() else ""
            raise RuntimeError(f"no first step: {folder.read_state()}\n{log}")
        time.sleep(LOOK_S)
    return first
