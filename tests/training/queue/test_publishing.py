"""Where a finished adapter goes, and what goes with a job that is deleted."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.queue_place import LONG, add, reach, until
from helpers.small import motion_recipe
from still_moving.common import system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.jobs.published import Publication
from still_moving.training.jobs.ticket import Ticket
from still_moving.training.queue.publishing import Publishing


@pytest.mark.slow
def test_an_adapter_is_published_once_and_overwrites_nobody(place, tmp_path):
    target = tmp_path / "loras" / "dog.safetensors"
    target.parent.mkdir()
    target.write_text("somebody else's", encoding="utf-8")
    supervisor = place.supervisor()
    add(supervisor, "a", publish=str(target))
    assert reach(supervisor, "a", "finished")["adapter"] == "dog 2.safetensors"
    assert target.read_text(encoding="utf-8") == "somebody else's"
    assert target.with_name("dog 2.safetensors").read_text(encoding="utf-8") == "dog at 5"
    add(supervisor, "b", steps=7, publish=str(target))
    assert reach(supervisor, "b", "finished")["adapter"] == "dog 3.safetensors"
    supervisor.close()
    again = place.supervisor()
    assert again.view("a")["adapter"] == "dog 2.safetensors"
    assert len(list(target.parent.iterdir())) == 3
    assert again.latest_finished("node")["id"] == "b"
    assert again.latest_finished("other") is None
    target.with_name("dog 3.safetensors").unlink()
    until(lambda: again.latest_finished("node")["id"] == "a", "the loss to be noticed")


@pytest.mark.slow
def test_a_stopped_job_goes_on_and_publishes_under_its_own_name(place, tmp_path):
    target = tmp_path / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=500, publish=str(target))
    until(lambda: supervisor.view("a")["step"] > 3, "some steps")
    supervisor.command("a", "stop")
    assert reach(supervisor, "a", "stopped")["adapter"] == "dog.safetensors"
    assert supervisor.latest_finished("node")["id"] == "a"
    supervisor.command("a", "resume")
    reach(supervisor, "a", "finished")
    until(lambda: target.read_text(encoding="utf-8") == "dog at 500", "the newer copy")
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["dog.safetensors"]
    with pytest.raises(UserError, match="finished"):
        supervisor.command("a", "resume")


@pytest.mark.slow
def test_deleting_removes_what_only_this_job_used(place, tmp_path):
    supervisor = place.supervisor()
    weights, sets = (place.root / name for name in ("weights", "sets"))
    for path in (weights, sets / "own", sets / "shared"):
        path.mkdir(parents=True)
        (path / "x.safetensors").write_text("x", encoding="utf-8")
    outside = tmp_path / "mine.safetensors"
    outside.write_text("mine", encoding="utf-8")
    own = (str(weights / "x.safetensors"), str(sets / "own"), str(outside), str(place.root))
    add(supervisor, "a", steps=LONG, uses=(*own, str(sets / "shared")))
    add(supervisor, "b", steps=LONG, uses=(str(sets / "shared"),))
    reach(supervisor, "a", "running")
    supervisor.delete("a")
    assert not (place.root / "jobs" / "a").exists()
    assert [p.name for p in sets.iterdir()] == ["shared"]
    assert list(weights.iterdir()) == []
    assert outside.read_text(encoding="utf-8") == "mine"
    until(lambda: place.removed == [{"id": "a"}], "the page to hear of it")
    supervisor.delete("b")
    assert list(sets.iterdir()) == []
    assert supervisor.views() == []
    with pytest.raises(UserError, match="a job that is there"):
        supervisor.delete("a")


def test_who_asks_at_any_moment_of_an_attempt_is_heard(tmp_path):
    """Another thread asks, when there is a newer export: before each line that an attempt runs."""
    job = Job("dog", motion_recipe(), "/b", "/m", {})
    folder, target = JobFolder.create(tmp_path / "a", job), tmp_path / "loras" / "dog.safetensors"
    folder.exports.mkdir()
    ticket = Ticket("a", "dog", "motion", "", 0.0, publish=str(target))
    asked = 0

    def export(text: str) -> None:
        (folder.exports / "dog.safetensors").write_text(text, encoding="utf-8")
        publishing.ask()

    def trace(frame, event, _):
        nonlocal moment
        if frame.f_code is not Publishing.attempt.__code__:
            return None
        moment += 1
        if moment == asked:
            export("newest, at last")
        return trace

    while True:
        publishing, moment, asked = Publishing(folder.path, job, ticket), 0, asked + 1
        export("new")
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            publishing.attempt(())
        finally:
            sys.settrace(before)
        if moment < asked:
            break
        while publishing.is_due(time.monotonic()):
            publishing.attempt(())
        assert target.read_text(encoding="utf-8") == "newest, at last", asked
    assert asked > 10


DEAF = """
import os, sys, time
sys.path.append(sys.argv[1])
from helpers.pack import load_pack
load_pack()
from still_moving.common import signatures, system
from still_moving.training.jobs.job import JobFolder
from still_moving.training.jobs.published import Publication
folder = JobFolder(sys.argv[2])
with system.exclusive(folder.lock):
    if len(sys.argv) == 3:
        folder.pid.write_text(signatures.signature(), encoding="utf-8")
    while not (folder.path.parents[1] / "end").exists():
        time.sleep(0.05)
"""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("still_moving.training.queue.trash.STOP_PATIENCE_S", 0.3)


def deaf(place, *more: str) -> JobFolder:
    """A job whose worker, of an earlier supervisor, holds the lock and listens to nobody."""
    tests = str(Path(__file__).resolve().parents[2])
    place.command = lambda folder: [sys.executable, "-c", DEAF, tests, str(folder), *more]
    supervisor = place.supervisor()
    add(supervisor, "a")
    folder = JobFolder(supervisor.folder("a"))
    until(lambda: (folder.pid.exists() or more) and system.is_held(folder.lock), "the lock")
    supervisor.close()
    return folder


@pytest.mark.slow
def test_a_worker_that_does_not_listen_is_killed(place, impatient):
    folder = deaf(place)
    place.supervisor().delete("a")  # not its child: known by its lock alone
    until(lambda: not folder.path.exists(), "the folder to go")


@pytest.fixture
def innocent():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        yield child
        child.kill()


# As a version wrote it that did not sign, and as a worker in another container has signed.
@pytest.mark.parametrize("identity", ["", "\nelsewhere 7\n"])
@pytest.mark.slow
def test_who_only_has_a_workers_number_is_left_alone(place, impatient, innocent, identity):
    """Something holds the lock that cannot be known, and somebody here has its number."""
    folder = deaf(place, "nameless")
    supervisor = place.supervisor()
    folder.pid.write_text(f"{innocent.pid}{identity}", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be ended"):
        supervisor.delete("a")
    assert innocent.poll() is None
    until(lambda: [view["id"] for view in supervisor.views()] == ["a"], "the job to be back")
    assert supervisor.view("a")["phase"] == "loading"
    (place.root / "end").touch()


@pytest.mark.parametrize("identity", ["", "\nelsewhere 7\n"])
@pytest.mark.slow
def test_nobody_is_ended_for_a_worker_that_obeyed(place, innocent, identity):
    """It lives where its number is another's; there, it lets the lock go when it is asked to."""
    first = place.supervisor()
    add(first, "a", steps=LONG)
    reach(first, "a", "running")
    folder = JobFolder(first.folder("a"))
    first.close()
    folder.pid.write_text(f"{innocent.pid}{identity}", encoding="utf-8")
    place.supervisor().delete("a")
    until(lambda: not folder.path.exists(), "the folder to go")
    assert innocent.poll() is None
    assert place.lives() == ["begin a", "end a"]


@pytest.mark.slow
def test_names_that_differ_in_case_alone_are_one_file_somewhere(place, tmp_path):
    """Windows and macOS take "Dog" for "dog"; a folder of adapters may be shared with them."""
    supervisor = place.supervisor()
    loras = tmp_path / "loras"
    for id, name in (("a", "Dög"), ("b", "dög"), ("c", "DÖG"), ("d", "dÖG")):
        add(supervisor, id, publish=str(loras / f"{name}.safetensors"))
        reach(supervisor, id, "finished")
    names = [supervisor.view(id)["adapter"] for id in "abcd"]
    stems = ("Dög", "dög 2", "DÖG 3", "dÖG 4")
    assert names == [f"{stem}.safetensors" for stem in stems]


@pytest.mark.slow
def test_a_place_that_is_promised_is_taken(place, tmp_path, monkeypatch):
    """Also while the first job's copy cannot be made: a disk may be full for a while."""
    supervisor, real = place.supervisor(), Publication._copy

    def full_for_a(self, *more):
        if self._ticket.id == "a":
            raise OSError(28, "No space left on device")
        return real(self, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Publication, "_copy", full_for_a)
        for id in "ab":
            add(supervisor, id, publish=str(tmp_path / "loras" / "dog.safetensors"))
            reach(supervisor, id, "finished")
        assert supervisor.view("b")["adapter"] == "dog 2.safetensors"
        assert "folder only" in supervisor.view("a")["message"]
    until(lambda: supervisor.view("a")["adapter"] == "dog.safetensors", "a's own")
