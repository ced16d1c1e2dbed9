"""A benchmark in parts: processes finish them side by side, and an interrupted run goes on.

A small network keeps one core busy and leaves the others idle, so each process has one. A part's
rows are a file; its lock belongs to whoever makes it. Each process begins elsewhere in the list and
passes over what another works at and what waits for it, again and again until all are there. A run
notes its commit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tqdm import tqdm

from ...common.atomic import atomic_write_text
from ...common.system import exclusive
from ...demo.network import MotionNetwork
from ...training.checks.device import pick_device
from . import estimate
from .estimate import Work
from .results_page import commit

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]  # a clip: who made it, of what, and its measures
Parts = Mapping[str, Callable[[], list[Row]]]


def options(
    about: str | None, out: str, more: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> argparse.Namespace:
    """The command line, with this process's threads set.

    out: the folder's name below demo/out, where ``--out`` is not given; more: options of its own.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "out" / out)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--quick", action="store_true", help="every part, far too short to judge")
    parser.add_argument("--docs", type=Path, help="where the report goes (docs/results/tables)")
    parser.add_argument("--only", metavar="PART", help="these parts' rows alone, and no report")
    parser.add_argument("--so-far", action="store_true", help="report what is there, make nothing")
    parser.add_argument("--processes", type=int, help="one a core, up to 8; with a card one")
    parser.add_argument("--helps", type=int, default=0, help=argparse.SUPPRESS)
    for name, own in more.items():
        parser.add_argument(name, **own)
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    if args.processes is None:
        args.processes = min(cores, 8) if pick_device(args.device).type == "cpu" else 1
    torch.set_num_threads(max(1, cores // args.processes))
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def run(
    args: argparse.Namespace,
    parts: Parts,
    work: Mapping[str, Work] | None = None,
    network: Callable[[torch.device], MotionNetwork] = estimate.shapes_network,
) -> tuple[list[Row], dict[str, Any]]:
    """All rows, in the parts' order; and the commits that made them, with the seconds it took.

    Both are over all runs. In a process that only helps it does not return. work: what parts have
    to do, for the time that is announced; none for those that are done in a moment; network: that
    they do it with. With
    ``--only`` those parts alone that have the text in their name, with ``--so-far`` those that
    are there.
    """
    parts = {name: part for name, part in parts.items() if (args.only or "") in name}
    if args.so_far:
        parts = {name: part for name, part in parts.items() if _file(args, name).exists()}
    if args.helps:
        parent = os.getppid()
        _finish(args, parts, lambda: parent == os.getppid() or sys.exit())
        raise SystemExit
    clock, commits = Clock(args.out), args.out / "commits.txt"
    before = commits.read_text(encoding="utf-8").splitlines() if commits.exists() else []
    if not all(_file(args, name).exists() for name in parts):
        before = list(dict.fromkeys([*before, commit()]))
        atomic_write_text(commits, "\n".join(before))
    with _helpers(args):
        _announce(args, parts, work or {}, network)
        _finish(args, parts, clock.keep)
    rows = [
        row for name in parts for row in json.loads(_file(args, name).read_text(encoding="utf-8"))
    ]
    return rows, {"commit": ", ".join(before), "seconds": round(clock.keep())}


def missing(args: argparse.Namespace, parts: Parts) -> list[str]:
    """The parts that are not measured yet, for a report of what is there."""
    return [name for name in parts if not _file(args, name).exists()]


def _announce(
    args: argparse.Namespace, parts: Parts, work: Mapping[str, Work],
    network: Callable[[torch.device], MotionNetwork],
) -> None:  # fmt: skip  # as for ``run``
    """Say how long it will take, measured beside the other processes."""
    left = [name for name in parts if not _file(args, name).exists()]
    if any(name in work for name in left):
        device = pick_device(args.device)
        doing = (work.get(name, Work()) for name in left)
        alone_s = estimate.seconds(doing, network(device), device)
        tqdm.write(
            f"{len(left)} of {len(parts)} parts are left: about "
            f"{estimate.in_words(alone_s / args.processes)} on {args.processes} processes. "
            "Interrupt it at any time: the same command goes on where it was.",
            file=sys.stderr,
        )


def file_name(name: str) -> str:
    """What a part, a method or a job is called on disk: Windows has no colons there."""
    return name.replace(": ", "-").replace(" ", "-")


class Busy(Exception):
    """What a part needs is being made by another process: it is taken up later."""


@contextmanager
def alone(path: Path, waits: bool = True) -> Iterator[None]:
    """One process at a time: for what several parts need, made once.

    waits: or else raises Busy, for what takes so long that other parts can be made meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path, math.inf if waits else 0.0) as held:
        if not held:
            raise Busy
        yield


def _finish(args: argparse.Namespace, parts: Parts, done: Callable[[], Any]) -> None:
    names = list(parts)
    begin = args.helps * len(names) // args.processes
    waiting = names[begin:] + names[:begin]
    with tqdm(total=len(names), disable=args.helps > 0) as bar:
        while waiting:
            busy = []
            for name in waiting:
                if _computed(_file(args, name), parts[name]):
                    bar.update()
                else:
                    busy.append(name)
                done()
            if busy == waiting:
                time.sleep(0.5)
            waiting = busy


def _computed(path: Path, part: Callable[[], list[Row]]) -> bool:
    """Whether a part's rows are there now; not if it, or what it needs, is made elsewhere."""
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        return True
    with exclusive(path.with_suffix(".lock"), 0.0) as held:
        if not held:
            return False
        if not path.exists():
            try:
                rows = part()
            except Busy:
                return False
            atomic_write_text(path, json.dumps(rows))
    return True


def _file(args: argparse.Namespace, part: str) -> Path:
    return args.out / "rows" / f"{file_name(part)}.json"


@contextmanager
def _helpers(args: argparse.Namespace) -> Iterator[None]:
    """The other processes. One that fails is no loss: its parts are left to this one."""
    started = [
        subprocess.Popen([*sys.orig_argv, "--processes", str(args.processes), "--helps", str(n)])
        for n in range(1, args.processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait()


class Clock:
    """Seconds that a benchmark has worked, over all the runs that its folder took."""

    def __init__(self, folder: Path):
        self.path = folder / "seconds.txt"
        self.before = float(self.path.read_text(encoding="utf-8")) if self.path.exists() else 0.0
        self.started = time.monotonic()

    def keep(self) -> float:
        """The seconds until now; those since the last call are lost with an interrupted run."""
        worked = self.before + time.monotonic() - self.started
        atomic_write_text(self.path, f"{worked:.1f}")
        return worked
