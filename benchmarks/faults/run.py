"""What kills and malformed requests cost: the last line is one JSON object of counts.

``python benchmarks faults --json [--worker-kills 200] [--server-kills 50] [--requests 2000]``.
Jobs on a tiny network run under a supervisor while the worker, or the process with the supervisor,
is killed at random moments, imports and saves included. In the end every job is compared with one
that nobody disturbed. Requests go to a started ComfyUI (COMFYUI_PATH, or ~/comfy/ComfyUI); without
one none are sent. "given_up" counts the times that three workers in a row were killed before their
first save, where the supervisor stops trying and an artist presses Resume; nothing is lost by that.
"""

import argparse
import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["worker_kills", "server_kills", "lost_jobs", "lost_steps", "unequal_weights", "requests"]
KEYS += ["crashes", "files_outside"]
PATIENCE_S = 300.0  # for a job to finish once nobody kills
STEPS, SAVE_EVERY = 150, 4
LONGEST_LIFE_S = 1.6  # of a worker, in times of what it takes to its first step
LONGEST_SERVER_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker-kills", type=int, default=200)
    parser.add_argument("--server-kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the counts only")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare()
    if options.serve:
        serve(options.serve)
    counts = Counter(dict.fromkeys(KEYS, 0))
    # On Windows the last worker's lock may be held a moment longer: that must not cost the counts.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        if options.worker_kills or options.server_kills:
            world = World(Path(place), random.Random(options.seed), quiet=options.json)
            counts.update(kill_workers(world, options.worker_kills))
            counts.update(kill_servers(world, options.server_kills))
        counts.update(ask(Path(place) / "asked", options.requests, options.seed, options.json))
    print(json.dumps(counts))


def prepare() -> None:
    """The pack and the tests' small network. One thread: equal sums."""
    os.environ["OMP_NUM_THREADS"] = "1"


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def ask(place: Path, requests: int, seed: int, quiet: bool) -> Counter[str]:
    """What malformed requests break, where there is a ComfyUI to send them to."""
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if not (comfyui / "main.py").is_file():
        say("No ComfyUI (COMFYUI_PATH): no requests are sent.")
        return Counter(requests=0)
    malformed = importlib.import_module("still_moving.benchmarks.faults.malformed")
    return malformed.ask_malformed(comfyui, place, requests, seed, no_word if quiet else say)


def no_word(message: str) -> None:
    """What ``--json`` says meanwhile."""


def worker(folder: Path) -> list[str]:
    return [sys.executable, str(ROOT / "__main__.py"), "train", "work", str(folder)]


def new_supervisor(root: Path) -> Any:
    queue = importlib.import_module("still_moving.training.queue.supervisor")
    supervisor = queue.Supervisor(root, worker, queue.Host())
    supervisor.start()
    return supervisor


def serve(root: Path) -> None:
    """A server: nothing but a supervisor, until it is killed."""
    new_supervisor(root)
    while True:
        time.sleep(60)


class World:
    """The files that jobs train on, and the job that nobody disturbs."""

    def __init__(self, place: Path, dice: random.Random, quiet: bool):
        self.small = importlib.import_module("helpers.small")
        self.ticket = importlib.import_module("still_moving.training.jobs.ticket")
        self.system = importlib.import_module("still_moving.common.system")
        self.processes = importlib.import_module("still_moving.common.processes")
        self.place, self.dice, self.say = place, dice, no_word if quiet else say
        (place / "files").mkdir()
        self.files = self.small.write_files(place / "files")
        recipe = self.small.motion_recipe(steps=STEPS, save_every=SAVE_EVERY, held_out_every=25)
        self.whole = self.small.new_job(place / "whole", recipe, self.files)
        started = time.monotonic()
        with subprocess.Popen(worker(self.whole.path)) as child:
            while not any(e["event"] == "step" for e in self.whole.read_events()):
                time.sleep(0.05)
            self.start_s = time.monotonic() - started
            assert child.wait() == 0
        self.say(f"a worker takes {self.start_s:.1f} s to its first step")

    def add(self, supervisor: Any, id: str) -> Any:
        """A new job like the undisturbed one; returns its folder."""
        ticket = self.ticket.Ticket(id, "made", "motion", "faults", time.time())
        supervisor.add(self.whole.load(), ticket)
        return type(self.whole)(supervisor.folder(id))

    def verdict(self, folder: Any) -> Counter[str]:
        """What a job has lost, once it has ended."""
        if folder.phase() != "finished":
            return Counter(lost_jobs=1)
        unequal = self.small.differences(self.small.learned(self.whole), self.small.learned(folder))
        steps = [e["step"] for e in folder.read_events() if e["event"] == "step"]
        missing = set(range(1, STEPS + 1)) - set(steps)
        curves = self.small.curve(self.whole) != self.small.curve(folder)
        return Counter(unequal_weights=len(unequal), lost_steps=len(missing), unequal_curves=curves)


def saved_step(folder: Any) -> int:
    """Of the newest checkpoint; 0 without one."""
    latest = folder.checkpoints / "latest"
    return int(latest.read_text(encoding="utf-8").split("-")[1]) if latest.exists() else 0


def resumed_at(folder: Any, since: float) -> int | None:
    """The step at which the life after that time began to train; None before it does."""
    begun = (e for e in folder.read_events() if e.get("phase") == "running" and e["time"] > since)
    return next((e["step"] for e in begun), None)


def kill_workers(world: World, kills: int) -> Counter[str]:
    """Kill the worker at random moments of its life; the supervisor starts the next one."""
    counts = Counter(worker_kills=0, lost_jobs=0, lost_steps=0, unequal_weights=0, given_up=0)
    supervisor, jobs, kept, killed = new_supervisor(world.place / "workers"), [], 0, 0.0
    while counts["worker_kills"] < kills:
        if not jobs or jobs[-1].phase() == "finished":
            jobs.append(world.add(supervisor, f"job-{len(jobs)}"))
            kept, killed = 0, 0.0
        folder, id = jobs[-1], jobs[-1].path.name
        time.sleep(world.dice.uniform(0, LONGEST_LIFE_S * world.start_s))
        if supervisor.view(id)["phase"] == "failed":
            supervisor.command(id, "resume")
            counts["given_up"] += 1
            continue
        if not world.system.is_held(folder.lock):
            continue  # not begun, or just over
        begun = resumed_at(folder, killed)
        counts["lost_steps"] += max(0, kept - begun) if begun is not None else 0
        world.processes.kill(int(folder.pid.read_text(encoding="utf-8").split()[0]))
        while world.system.is_held(folder.lock):
            time.sleep(0.001)
        kept, killed = saved_step(folder), time.time()
        counts["worker_kills"] += 1
        world.say(f"worker kill {counts['worker_kills']}: {id} kept {kept} steps")
    for folder in jobs:
        finish(supervisor, folder)
        counts.update(world.verdict(folder))
    supervisor.close()
    return counts


def kill_servers(world: World, kills: int) -> Counter[str]:
    """Kill the process with the supervisor; its worker lives on and the next one takes it up."""
    counts = Counter(server_kills=0)
    root, jobs = world.place / "servers", []
    while counts["server_kills"] < kills:
        command = [sys.executable, str(ROOT / "benchmarks"), "faults", "--serve", str(root)]
        with subprocess.Popen(command) as server:
            if not jobs or jobs[-1].phase() == "finished":
                watch = new_supervisor(root)  # adds the job as a page would, then goes away
                jobs.append(world.add(watch, f"job-{len(jobs)}"))
                watch.close()
            time.sleep(world.dice.uniform(0, LONGEST_SERVER_S))
            server.kill()
        counts["server_kills"] += 1
        world.say(f"server kill {counts['server_kills']}: {jobs[-1].phase()}")
    supervisor = new_supervisor(root)
    for folder in jobs:
        finish(supervisor, folder)
        counts.update(world.verdict(folder))
    supervisor.close()
    return counts


def finish(supervisor: Any, folder: Any) -> None:
    """Let a job come to its end, if it can."""
    deadline = time.monotonic() + PATIENCE_S
    while folder.phase() != "finished" and time.monotonic() < deadline:
        if supervisor.view(folder.path.name)["phase"] == "failed":
            supervisor.command(folder.path.name, "resume")
        time.sleep(0.2)
