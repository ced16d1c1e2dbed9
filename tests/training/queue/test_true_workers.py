"""A supervisor with true workers: what gives way or is killed ends as if nothing had happened."""

import math
import sys
from pathlib import Path

import pytest

from helpers.disturbed import same, undisturbed, until
from helpers.small import ROOT, motion_recipe
from still_moving.common import processes
from still_moving.training.jobs.job import JobFolder
from still_moving.training.jobs.ticket import Ticket
from still_moving.training.queue.host import Host, JobView
from still_moving.training.queue.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("one_thread")


class Studio:
    """A supervisor with true workers."""

    def __init__(self, tmp_path: Path, patience_s: float = math.inf):
        self.root, self.busy, self.patience_s = tmp_path / "root", False, patience_s
        self.supervisor = self.start()

    def start(self) -> Supervisor:
        supervisor = Supervisor(self.root, self._command, Host(busy=lambda: self.busy), idle_s=0.2)
        supervisor.start()
        return supervisor

    def _command(self, folder: Path) -> list[str]:
        pack = str(ROOT / "__main__.py")
        patience = ["--patience", str(self.patience_s)]
        return [sys.executable, pack, "train", "work", str(folder), *patience]

    def add(self, like: JobFolder, **ticket) -> JobFolder:
        self.supervisor.add(like.load(), Ticket("job", "made", "motion", "node", 1.0, **ticket))
        return JobFolder(self.supervisor.folder("job"))

    def reach(self, phase: str, step: int = 0) -> JobView:
        def there() -> bool:
            view = self.supervisor.view("job")
            assert view["phase"] in ("failed", phase) or view["phase"] not in ("failed", "finished")
            return view["phase"] == phase and view["step"] >= step

        until(there, f"{phase} at {step}")
        return self.supervisor.view("job")


@pytest.fixture
def studio(tmp_path):
    started = Studio(tmp_path)
    yield started
    started.supervisor.delete("job")
    started.supervisor.close()


LONGER = motion_recipe(steps=60, save_every=7, held_out_every=20)


@pytest.mark.slow
def test_a_true_worker_gives_way_leaves_comes_back_and_publishes(studio, tmp_path, files):
    whole = undisturbed(tmp_path, LONGER, files)
    folder = studio.add(whole, publish=str(tmp_path / "adapters" / "made.safetensors"))
    studio.reach("running", step=5)
    studio.busy = True
    studio.reach("yielding")
    studio.busy = False
    studio.reach("running", step=10)
    folder.share("leave")  # as after a long wait; the supervisor starts it again
    view = studio.reach("finished")
    same(whole, folder)
    assert view["adapter"] == "made.safetensors"
    published = (tmp_path / "adapters" / "made.safetensors").read_bytes()
    assert published == (folder.exports / "made.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_a_living_one_taken_up(studio, tmp_path, files):
    whole = undisturbed(tmp_path, LONGER, files)
    folder = studio.add(whole)
    studio.reach("running", step=15)
    processes.kill(int(folder.pid.read_text(encoding="utf-8").split()[0]))
    studio.reach("running", step=25)
    second = folder.pid.read_text(encoding="utf-8")
    studio.supervisor.close()
    studio.supervisor = studio.start()
    studio.reach("finished")
    assert folder.pid.read_text(encoding="utf-8") == second  # the same worker, to its end
    same(whole, folder)
