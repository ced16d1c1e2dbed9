"""A step of training while other programs keep every core busy, by how long threads wait.

``python benchmarks training.load [--steps N] [--preload FILE] [--docs FOLDER]``, a minute a line.
A job of the shapes world, started from the command line; once it runs, as many endless loops as
there are cores join it. preload: a libomp.so that takes the place of PyTorch's own OpenMP on Linux,
to see what the one of Windows and macOS does. Prints a table, or writes it to the page of figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from ...common.threads import BRIEF
from ...demo.data import write_natural_clips
from ...training.jobs.job import Job, JobFolder
from ...training.recipes.presets import make_recipe
from ...worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS
from ..common.results_page import TABLES, commit, put_tables
from ..common.rows import cached, machine

PACK = Path(__file__).resolve().parents[2] / "__main__.py"
WARM = 3  # steps that are not counted, before and after the loops join
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
ALONE = {**BRIEF, "OMP_NUM_THREADS": "1"}
GNU = {
    "3 ms, its own choice": {"GOMP_SPINCOUNT": "300000"},
    "1 ms": {"GOMP_SPINCOUNT": "100000"},
    "0.1 ms": {"GOMP_SPINCOUNT": "10000"},
    "0.01 ms, the worker's": BRIEF,
    "not at all": PASSIVE,
    "one thread": ALONE,
}
LLVM = {
    "200 ms, its own choice": {"KMP_BLOCKTIME": "200"},
    "1 ms": {"KMP_BLOCKTIME": "1"},
    "not at all": PASSIVE,
    "one thread": ALONE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="counted, without load and under it")
    parser.add_argument("--preload", type=Path, help="LLVM's or Intel's OpenMP")
    parser.add_argument("--docs", type=Path, help=f"folder of the page of figures ({TABLES.name})")
    options = parser.parse_args()
    ways = LLVM if options.preload else GNU
    rows = {}
    for name, way in ways.items():
        rows[name] = measure(way, options.steps, options.preload)
        sys.stderr.write(f"{table({name: rows[name]})[-1]}\n")
    about = (
        f"`python benchmarks training.load`, {'LLVM' if options.preload else 'GNU'}'s OpenMP, "
        f"{machine()}, commit {commit()}. Seconds a step, the mean and the slowest of "
        f"{options.steps}."
    )
    text = "\n".join([about, "", *table(rows)])
    if options.docs:
        page = f"load{'_llvm' if options.preload else ''}.md"
        put_tables(options.docs / page, "Training beside other programs", text)
    print(text)


def table(rows: dict[str, tuple[list[float], list[float]]]) -> list[str]:
    """rows: the seconds of each step without load and under it, by how long threads wait."""
    return [
        "| threads wait | alone | the slowest | beside busy programs | the slowest |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | "
            + " | ".join(f"{value:.2f}" for part in parts for value in (fmean(part), max(part)))
            + " |"
            for name, parts in rows.items()
        ),
    ]


def measure(
    way: dict[str, str], steps: int, preload: Path | None
) -> tuple[list[float], list[float]]:
    """Seconds of each step, without load and under it. way: what the environment says."""
    own = {"LD_PRELOAD": str(preload.resolve())} if preload else {}
    each = WARM + steps
    with tempfile.TemporaryDirectory() as folder:
        job = new_job(Path(folder), 2 * each)
        command = [sys.executable, str(PACK), "train", "resume", str(job.path), "--json"]
        with subprocess.Popen(
            command, env={**os.environ, **way, **own}, stdout=subprocess.PIPE, encoding="utf-8"
        ) as process:
            moments = step_ends(process)
            alone = seconds(moments, each)
            with busy():
                loaded = seconds(moments, each)
            list(moments)  # what else it says until it ends
        if process.returncode:
            raise RuntimeError(f"the job ended with {process.returncode}")
    return alone, loaded


def new_job(folder: Path, steps: int) -> JobFolder:
    clips = cached(write_natural_clips(folder / "clips", 2, seed=10), "clips", folder / "set")
    recipe = make_recipe(
        "motion", "shapes world", steps=steps, batch=1, held_out=0, save_every=1000
    )
    job = Job(
        name="load",
        recipe=recipe,
        checkpoint=str(WEIGHTS / BASE),
        motion_module=str(WEIGHTS / MOTION_MODULE),
        sets={"frames": str(clips)},
        device="cpu",
    )
    return JobFolder.create(folder / "job", job)


def step_ends(process: subprocess.Popen[str]) -> Iterator[float]:
    """When each step of a job is heard to be done."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            yield time.monotonic()


def seconds(moments: Iterator[float], count: int) -> list[float]:
    """Those of the next so many steps, without the first ones."""
    ends = list(itertools.islice(moments, count))[WARM - 1 :]
    return [after - before for before, after in itertools.pairwise(ends)]


@contextmanager
def busy() -> Iterator[None]:
    """Other programs that want every core."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
