"""A job is deleted for everybody at once, whatever of it is open: that goes when it can."""

import os
import sys
import threading
import time

import pytest

from helpers.queue_place import LONG, add, reach, stopped, until
from helpers.under_wine import UNDER_WINE
from still_moving.common import files
from still_moving.training.jobs import published
from still_moving.training.jobs.job import JobFolder
from still_moving.training.queue import trash

pytestmark = [
    pytest.mark.slow,  # each starts workers
    pytest.mark.skipif(sys.platform == "darwin", reason="who has what open is asked of /proc"),
]


def test_what_waits_is_kept_when_its_job_is_deleted(place, tmp_path, windows):
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target))
    stopped(supervisor, "a")
    first = target.read_text(encoding="utf-8")
    with target.open("rb"):
        supervisor.command("a", "resume")
        stopped(supervisor, "a")
        until(lambda: supervisor.view("a")["message"], "the words")
        newest = (supervisor.folder("a") / "export" / "dog.safetensors").read_text(encoding="utf-8")
        supervisor.delete("a")
    names = {path.name: path.read_text(encoding="utf-8") for path in target.parent.iterdir()}
    assert names == {"dog.safetensors": first, "dog 2.safetensors": newest}


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_under_way_is_finished_when_its_job_is_deleted(
    place, tmp_path, monkeypatch, restart
):
    """However long it takes: nobody waits for it, and it is not lost."""
    going, real = threading.Event(), published._read_at
    monkeypatch.setattr(published, "_read_at", lambda *it: (going.wait(60), real(*it))[1])
    supervisor, target = place.supervisor(), tmp_path / "loras" / "dog.safetensors"
    add(supervisor, "a", publish=str(target))
    until(lambda: target.parent.exists() and list(target.parent.iterdir()), "the copy to begin")
    reach(supervisor, "a", "finished")
    folder = JobFolder(supervisor.folder("a"))
    begun = time.monotonic()
    supervisor.delete("a")
    assert time.monotonic() - begun < 10.0
    assert supervisor.views() == []
    assert not target.exists()
    assert not folder.state.exists()  # what nobody needs is gone: it may make room
    going.set()
    if restart:
        supervisor.close()
        place.supervisor()
    until(lambda: not folder.path.exists(), "the folder to go")
    assert [path.name for path in target.parent.iterdir()] == ["dog.safetensors"]
    assert target.read_text(encoding="utf-8") == "dog at 5"


def test_who_looks_on_leaves_the_copy_to_whoever_steers(place, tmp_path, monkeypatch):
    """Two processes that copy to one place would spoil it."""
    copies, room, real = set(), threading.Event(), published.Publication._copy

    def copy(self, *more):
        copies.add(threading.current_thread().name)
        if not room.is_set():
            raise OSError("a full disk")
        return real(self, *more)

    monkeypatch.setattr(published.Publication, "_copy", copy)
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor, looker = place.supervisor(), place.supervisor()
    add(supervisor, "a", publish=str(target))
    until(lambda: looker.views() and looker.view("a")["phase"] == "finished", "it to be seen")
    folder = looker.folder("a")
    looker.delete("a")
    room.set()
    until(lambda: not folder.exists(), "the folder to go")
    assert target.read_text(encoding="utf-8") == "dog at 5"
    assert copies <= {"still-moving_publish", "still-moving_remove"}


def test_a_job_with_an_open_file_is_gone_from_every_view(place, tmp_path, windows):
    supervisor, looker = place.supervisor(), place.supervisor()
    own = place.root / "weights" / "x.safetensors"
    own.parent.mkdir()
    own.write_text("x", encoding="utf-8")
    add(supervisor, "a", steps=LONG, uses=(str(own),))
    stopped(supervisor, "a")
    folder = JobFolder(supervisor.folder("a"))
    with folder.log.open("rb"):
        supervisor.delete("a")
        assert supervisor.views() == []
        until(lambda: looker.views() == [], "the other one's views")
        until(lambda: {"id": "a"} in place.removed, "the pages to hear")
        supervisor.close()
        looker.close()
        supervisor = place.supervisor()  # after a restart
        assert supervisor.views() == []
        assert folder.log.exists()
    until(lambda: not list((place.root / "jobs").iterdir()), "the folder to go")
    assert not own.exists()


@pytest.mark.skipif(UNDER_WINE, reason="Wine renames a folder with an open file in it")
def test_weights_that_are_open_go_when_they_can_and_the_job_at_last(place, windows):
    supervisor = place.supervisor()
    own, other = (place.root / "sets" / name for name in ("own", "other"))
    for path in (own, other):
        path.mkdir(parents=True)
        (path / "x.safetensors").write_text("x", encoding="utf-8")
        (path / "y.safetensors").write_text("y", encoding="utf-8")
    add(supervisor, "a", steps=LONG, uses=(str(own), str(other)))
    stopped(supervisor, "a")
    folder = supervisor.folder("a")
    with (own / "x.safetensors").open("rb"), (other / "x.safetensors").open("rb"):
        supervisor.delete("a")
        assert supervisor.views() == []
        assert len(list(own.iterdir())) == 2  # whole: another job may take it up
        assert {path.name for path in folder.iterdir()} <= {
            "about.json",
            "job.json",
            "published.json",
            "deleted",
        }
        add(supervisor, "b", steps=LONG, uses=(str(own),))
        time.sleep(1.5)  # a further attempt
        assert len(list(other.iterdir())) == 2
    until(lambda: not folder.exists(), "the folder to go")
    assert not other.exists()  # what only a needed
    assert len(list(own.iterdir())) == 2  # b needs it
    supervisor.delete("b")
    until(lambda: not own.exists(), "the set to go")


@pytest.mark.parametrize("steering", [True, False])
def test_a_job_whose_worker_lingers_is_deleted(place, windows, steering):
    """The worker of an earlier ComfyUI, whose process ends some time after its last word."""
    place.habits = ("lingers long",)
    first = place.supervisor()
    add(first, "a", steps=LONG)
    reach(first, "a", "running")
    folder = first.folder("a")
    if steering:
        first.close()
    place.supervisor().delete("a")
    assert place.open[-1].views() == []
    until(lambda: not folder.exists(), "the folder to go")
    assert place.lives() == ["begin a"]  # it was ended, and nobody began anew


def test_what_is_open_keeps_nothing_else_and_read_only_keeps_nothing(place, windows):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    stopped(supervisor, "a")
    folder = supervisor.folder("a")
    samples = folder / "samples"
    samples.mkdir()
    for name in ("1.webp", "2.webp", "3.webp"):
        (samples / name).write_text("x", encoding="utf-8")
        (samples / name).chmod(0o444)
    with (samples / "2.webp").open("rb"):  # a page downloads it
        supervisor.delete("a")
        assert [path.name for path in samples.iterdir()] == ["2.webp"]
    until(lambda: not folder.exists(), "the folder to go")


def test_an_unfinished_folder_goes_by_our_own_clock(place, monkeypatch):
    """The time of a file is another computer's, or from before the clock was set."""
    monkeypatch.setattr(trash, "_ABANDONED_S", 1.0)
    unfinished = place.root / "jobs" / f"{files.NEW}a"
    unfinished.mkdir(parents=True)
    os.utime(unfinished, (0, 0))
    place.supervisor()
    time.sleep(0.5)
    assert unfinished.exists()
    until(lambda: not unfinished.exists(), "it to go")


def test_what_a_virus_scanner_kept_of_a_write_goes_later(place):
    left = [place.root / f"{files.NEW}{kind}{'0' * 7}.tmp" for kind in "01"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.utime(left[0], (0, 0))
    place.supervisor()
    until(lambda: not left[0].exists(), "it to go")
    assert left[1].exists()
