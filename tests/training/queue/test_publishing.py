"""Where a finished adapter goes, and what goes with a job that is deleted."""

import sys

import pytest

from helpers.queue_place import LONG, add, reach, until
from still_moving.common import system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder


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


@pytest.mark.slow
def test_a_worker_that_does_not_listen_is_killed(place, monkeypatch):
    monkeypatch.setattr("still_moving.training.queue.supervisor._STOP_PATIENCE_S", 0.3)
    deaf = (
        "import fcntl, os, sys, time; p = sys.argv[1]; f = open(p + '/lock', 'w');"
        "fcntl.flock(f, 2); open(p + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    place.command = lambda folder: [sys.executable, "-c", deaf, str(folder)]
    supervisor = place.supervisor()
    add(supervisor, "a")
    folder = JobFolder(supervisor.folder("a"))
    until(lambda: folder.pid.exists() and system.is_held(folder.lock), "the lock")
    supervisor.close()
    other = place.supervisor()  # not its child: known by its lock alone
    other.delete("a")
    assert not folder.path.exists()
