"""A root folder of jobs and supervisors on it; workers are real processes (steady_worker.py)."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from helpers.small import motion_recipe
from still_moving.training.jobs.job import Job
from still_moving.training.jobs.ticket import Ticket
from still_moving.training.queue.host import Host, JobView
from still_moving.training.queue.supervisor import Supervisor

WORKER = Path(__file__).with_name("steady_worker.py")
PATIENCE_S = 60
LONG = 100_000  # steps: until somebody stops it


class Place:
    """A root folder, the supervisors on it, and what they pushed."""

    def __init__(self, root: Path):
        self.root, self.diary = root / "still moving ä", root / "diary"
        self.busy, self.open = False, []
        self.views, self.removed = [], []  # as they were pushed
        self.habits: tuple[str, ...] = ()  # of its workers
        self.command: Callable[[Path], list[str]] = lambda folder: [
            sys.executable,
            str(WORKER),
            str(folder),
            str(self.diary),
            *self.habits,
        ]

    def supervisor(self, **more) -> Supervisor:
        host = Host(lambda: self.busy, self.views.append, self.removed.append)
        supervisor = Supervisor(
            self.root, lambda folder: self.command(folder), host, idle_s=0.2, **more
        )
        supervisor.start()
        self.open.append(supervisor)
        return supervisor

    def close(self) -> None:
        # The one that starts workers first: behind its back it would start one where no job is.
        for supervisor in sorted(self.open, key=lambda it: not it._board.steering):
            for view in supervisor.views():
                supervisor.delete(view["id"])
            supervisor.close()

    def lives(self) -> list[str]:
        return self.diary.read_text(encoding="utf-8").splitlines() if self.diary.exists() else []

    def phases(self, id: str) -> list[str]:
        """The phases that were pushed, without repetition."""
        phases = [view["phase"] for view in self.views if view["id"] == id]
        return [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p]


def add(supervisor: Supervisor, id: str, steps: int = 5, **ticket) -> JobView:
    job = Job("dog", motion_recipe(steps=steps), "/a/base", "/a/mm", {"frames": "/a/set"})
    plain = {"name": id, "kind": "motion", "uid": "node", "created": float(ord(id[0]))}
    return supervisor.add(job, Ticket(id, **plain | ticket))


def until(truth: Callable[[], object], description: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline, f"waited too long for {description}"
        time.sleep(0.02)


def reach(supervisor: Supervisor, id: str, phase: str) -> JobView:
    until(lambda: supervisor.view(id)["phase"] == phase, f"{id} to be {phase}")
    return supervisor.view(id)


def stopped(supervisor: Supervisor, id: str) -> None:
    """Let a job run for some steps and stop it, which writes its adapter."""
    step = supervisor.view(id)["step"]
    until(lambda: supervisor.view(id)["step"] > step + 3, "some steps")
    supervisor.command(id, "stop")
    reach(supervisor, id, "stopped")
