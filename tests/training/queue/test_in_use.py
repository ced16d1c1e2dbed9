"""Files that another program has open, as Windows holds them: what waits harms nobody else."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers.queue_place import LONG, add, reach, stopped, until
from still_moving.common import files
from still_moving.common.errors import UserError
from still_moving.training.jobs import published
from still_moving.training.jobs.job import JobFolder

pytestmark = [
    pytest.mark.slow,  # each starts workers
    pytest.mark.skipif(sys.platform == "darwin", reason="who has what open is asked of /proc"),
]


@pytest.fixture
def copies(monkeypatch) -> list:
    """Sources of the copies that were made."""
    made, real = [], published.Publication._copy
    monkeypatch.setattr(
        published.Publication, "_copy", lambda *it: (made.append(it[1].name), real(*it))[1]
    )
    return made


def worst_s(act, seconds: float) -> float:
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        act()
        worst = max(worst, time.monotonic() - begun)
        time.sleep(0.01)
    return worst


def test_an_adapter_that_is_open_elsewhere_waits_for_its_place(place, tmp_path, windows, copies):
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target))
    stopped(supervisor, "a")
    first = target.read_text(encoding="utf-8")
    with target.open("rb"):
        supervisor.command("a", "resume")
        stopped(supervisor, "a")
        until(lambda: supervisor.view("a")["message"], "the words")
        message = supervisor.view("a")["message"]
        assert "Another program has dog.safetensors open" in message
        assert (supervisor.view("a")["adapter"], len(copies)) == ("dog.safetensors", 2)
        assert target.read_text(encoding="utf-8") == first
        add(supervisor, "b", steps=LONG)
        assert worst_s(supervisor.views, 3.0) < 0.5
        assert reach(supervisor, "b", "running")["step"] > 0
        begun = time.monotonic()
        supervisor.command("b", "pause")
        assert time.monotonic() - begun < 0.5
        reach(supervisor, "b", "paused")
        # With pauses that grow; Windows itself does not count.
        assert os.name == "nt" or len(windows.paths) in range(1, 6)
    until(lambda: target.read_text(encoding="utf-8") != first, "the newer one")
    until(lambda: supervisor.view("a")["message"] == "", "the end of the trouble")
    assert len(copies) == 2  # one for each export
    assert [path.name for path in target.parent.iterdir()] == ["dog.safetensors"]


def test_a_command_tries_at_once(place, tmp_path, windows):
    target = tmp_path / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target))
    stopped(supervisor, "a")
    first = target.read_text(encoding="utf-8")
    with target.open("rb"):
        supervisor.command("a", "resume")
        stopped(supervisor, "a")
        until(lambda: supervisor.view("a")["message"], "the words")
        watched = supervisor._board.find("a")
        watched.publishing._due = time.monotonic() + 1000
    supervisor.command("a", "pause")  # nothing to an ended job; but somebody is there
    until(lambda: target.read_text(encoding="utf-8") != first, "the newer one")


def test_a_copy_of_a_killed_comfyui_is_used(place, tmp_path, windows, copies):
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target))
    stopped(supervisor, "a")
    with target.open("rb"):
        supervisor.command("a", "resume")
        stopped(supervisor, "a")
        until(lambda: supervisor.view("a")["message"], "the words")
        supervisor.close()
    again = place.supervisor()
    export = JobFolder(again.folder("a")).exports / "dog.safetensors"
    until(lambda: target.read_bytes() == export.read_bytes(), "the newer one")
    assert len(copies) == 2
    assert len(list(target.parent.iterdir())) == 1


def test_a_command_that_is_refused_keeps_no_other_waiting(place, windows, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)  # there, refusals are outlasted
    supervisor = place.supervisor()
    for id in "ab":
        add(supervisor, id, steps=LONG)
        supervisor.command(id, "pause")
    control = JobFolder(supervisor.folder("a")).control
    took: list[float] = []

    def press() -> None:
        begun = time.monotonic()
        with pytest.raises(UserError, match="takes no file"):
            supervisor.command("a", "resume")
        took.append(time.monotonic() - begun)

    with control.open("rb"):
        thread = threading.Thread(target=press)
        thread.start()
        assert worst_s(supervisor.views, 0.5) < 0.3
        assert worst_s(lambda: supervisor.command("b", "pause"), 0.5) < 0.3
        thread.join()
    assert took[0] > 1.5
    assert supervisor.view("a")["phase"] == "paused"
    supervisor.command("a", "resume")
    reach(supervisor, "a", "running")


def test_a_refusal_that_passes_is_not_told(place, monkeypatch):
    """A virus scanner opens what was just written: a job is not failed for that."""
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    real, end = JobFolder.read_state, time.monotonic() + 1.0

    def scanned(folder):
        if time.monotonic() < end:
            raise PermissionError("in use")
        return real(folder)

    with monkeypatch.context() as patched:
        patched.setattr(JobFolder, "read_state", scanned)
        time.sleep(1.5)
        assert set(place.phases("a")) <= {"queued", "loading", "running"}
        end = time.monotonic() + 60
        until(lambda: supervisor.view("a")["phase"] == "failed", "what lasts to be told")
    reach(supervisor, "a", "running")


def test_no_job_is_lost_while_folders_cannot_be_listed(place, monkeypatch):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    supervisor.command("a", "pause")

    def refused(path):
        raise PermissionError(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refused)
        time.sleep(1.5)
        assert [view["id"] for view in supervisor.views()] == ["a"]
    assert place.removed == []


def test_nothing_waits_while_an_adapter_is_copied(place, tmp_path, monkeypatch):
    """However long that takes: a slow disk, a network drive."""
    going, real = threading.Event(), published._read_at
    monkeypatch.setattr(published, "_read_at", lambda *it: (going.wait(60), real(*it))[1])
    supervisor = place.supervisor()
    add(supervisor, "a", publish=str(tmp_path / "dog.safetensors"))
    until(lambda: "end a" in place.lives(), "its end")
    assert worst_s(supervisor.views, 1.0) < 0.5
    add(supervisor, "b")
    reach(supervisor, "b", "finished")
    assert reach(supervisor, "a", "finished")["adapter"] is None
    assert "is being copied" in supervisor.view("a")["message"]
    going.set()
    until(lambda: supervisor.view("a")["adapter"] == "dog.safetensors", "the copy")
    assert supervisor.view("a")["message"] == ""


def test_nothing_waits_while_a_drive_says_nothing_of_an_adapter(place, tmp_path, monkeypatch):
    """A network drive that is gone answers after a minute."""
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", publish=str(target))
    reach(supervisor, "a", "finished")
    going, asked, real = threading.Event(), threading.Event(), os.path.isfile

    def isfile(path):
        if Path(path) == target:
            asked.set()
            going.wait(60)
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os.path, "isfile", isfile)
        assert asked.wait(60)
        add(supervisor, "b", steps=LONG)
        assert worst_s(lambda: supervisor.command("b", "pause"), 2.0) < 0.5
        assert supervisor.view("a")["adapter"] == "dog.safetensors"
        going.set()
    target.unlink()
    until(lambda: supervisor.view("a")["adapter"] is None, "the loss to be noticed")
