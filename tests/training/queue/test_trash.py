"""What cannot be read or written while a job is deleted: nothing that is needed goes with it."""

import errno
import os
import sys
from pathlib import Path

import pytest

from helpers.queue_place import LONG, Place, add, reach, stopped, until
from still_moving.common import files, system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder

pytestmark = pytest.mark.slow  # each starts workers


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def made(place: Place, *names: str) -> list[Path]:
    """Sets of these names."""
    paths = [place.root / "sets" / name for name in names]
    for path in paths:
        path.mkdir(parents=True)
        (path / "x.safetensors").write_text("x", encoding="utf-8")
    return paths


@pytest.fixture
def refused(monkeypatch):
    """Names of files, with their folders', that nobody may read just now."""
    names, real = set[str](), files.read_bytes

    def read(path, patience_s=None):
        if "/".join(Path(path).parts[-2:]) in names:
            raise PermissionError(errno.EACCES, "in use", str(path))
        return real(path, patience_s)

    monkeypatch.setattr(files, "read_bytes", read)
    return names


@pytest.mark.parametrize("name", ["about.json", "job.json"])
def test_a_job_that_cannot_be_read_for_now_loses_no_set(place, refused, name):
    own, shared = made(place, "own", "shared")
    first = place.supervisor()
    add(first, "a", uses=(str(own), str(shared)))
    add(first, "b", uses=(str(shared),))
    for id in "ab":
        reach(first, id, "finished")
    first.close()
    refused.add(f"b/{name}")
    supervisor = place.supervisor()
    folder = supervisor.folder("a")
    supervisor.delete("a")
    assert [view["id"] for view in supervisor.views()] == ["b"]
    assert shared.exists()
    refused.clear()
    until(lambda: not folder.exists(), "the folder to go")
    assert not own.exists()
    assert shared.exists()
    supervisor.delete("b")
    assert not shared.exists()


@pytest.mark.parametrize("name", ["about.json", "job.json"])
def test_what_a_job_used_goes_though_its_own_file_cannot_be_read_for_now(place, refused, name):
    (own,) = made(place, "own")
    first = place.supervisor()
    add(first, "a", uses=(str(own),))
    reach(first, "a", "finished")
    first.close()
    refused.add(f"a/{name}")
    supervisor = place.supervisor()
    folder = supervisor.folder("a")
    supervisor.delete("a")
    assert supervisor.views() == []
    refused.clear()
    until(lambda: not folder.exists(), "the folder to go")
    assert not own.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="who has what open is asked of /proc")
@pytest.mark.skipif(os.name == "nt", reason="Wine renames a folder with an open file in it")
def test_a_deletion_that_fails_leaves_the_job_as_it_was(place, windows, monkeypatch, tmp_path):
    (own,) = made(place, "own")
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target), uses=(str(own),))
    stopped(supervisor, "a")
    folder = JobFolder(supervisor.folder("a"))
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    first = target.read_bytes()
    with monkeypatch.context() as patched, folder.log.open("rb"):
        patched.setattr(files, "append_text", full_disk)
        with pytest.raises(UserError, match="cannot be removed"):
            supervisor.delete("a")
    assert {path: path.read_bytes() for path in before} == before
    assert own.exists()
    supervisor.command("a", "resume")
    stopped(supervisor, "a")
    until(lambda: target.read_bytes() != first, "the newer adapter")


@pytest.mark.skipif(sys.platform == "darwin", reason="who has what open is asked of /proc")
def test_a_folder_that_takes_no_file_goes_at_once(place, windows, monkeypatch, tmp_path):
    """A full disk, on which a job is deleted to make room."""
    (own,) = made(place, "own")
    target = tmp_path / "loras" / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(target), uses=(str(own),))
    stopped(supervisor, "a")
    folder = supervisor.folder("a")
    with target.open("rb"):
        supervisor.command("a", "resume")
        stopped(supervisor, "a")
        until(lambda: supervisor.view("a")["message"], "the words")
        newest = (folder / "export" / "dog.safetensors").read_bytes()
        monkeypatch.setattr(files, "append_text", full_disk)
        supervisor.delete("a")
    assert supervisor.views() == []
    assert list((place.root / "jobs").iterdir()) == list(own.parent.iterdir()) == []
    kept = {path.name: path.read_bytes() for path in target.parent.iterdir()}
    assert kept["dog 2.safetensors"] == newest
    assert len(kept) == 2


def test_a_job_whose_lock_cannot_be_looked_at_is_not_cleared(place, monkeypatch):
    """A virus scanner has the file: its worker may live."""
    monkeypatch.setattr("still_moving.training.queue.trash.STOP_PATIENCE_S", 0.3)
    first = place.supervisor()
    add(first, "a", steps=LONG)
    reach(first, "a", "running")
    first.close()
    supervisor = place.supervisor()
    folder = JobFolder(supervisor.folder("a"))
    with monkeypatch.context() as patched:
        refusal = PermissionError(errno.EACCES, "in use", str(folder.lock))
        patched.setattr(system, "_try_lock", lambda _: (_ for _ in ()).throw(refusal))
        with pytest.raises(UserError, match="unreadable"):
            supervisor.delete("a")
        assert folder.spec.exists()
        assert folder.state.exists()
    until(lambda: [view["id"] for view in supervisor.views()] == ["a"], "the job to be back")


def test_nobody_begins_while_a_deleted_job_s_lock_cannot_be_looked_at(place, monkeypatch):
    supervisor = place.supervisor()
    folder = JobFolder(place.root / "jobs" / "a")
    folder.path.mkdir()
    folder.lock.touch()
    supervisor._board.deleted.add("a")
    busy = supervisor._trash.busy
    assert not busy()
    for number, held in ((errno.EACCES, True), (errno.ENOLCK, False)):
        with monkeypatch.context() as patched:
            error = OSError(number, os.strerror(number))
            patched.setattr(system, "_try_lock", lambda _, e=error: (_ for _ in ()).throw(e))
            assert busy() == held
