"""What goes wrong with a job is told as long as it is so, and no longer."""

import errno
import os

import pytest

from helpers.queue_place import LONG, add, reach, until
from still_moving.common import files, system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder
from still_moving.training.jobs.published import Publication

pytestmark = pytest.mark.slow  # each starts workers


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("mended", ["the disk", "the wish"])
def test_a_folder_that_cannot_be_written_is_told_until_it_can(place, monkeypatch, mended):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    with monkeypatch.context() as patched:
        patched.setattr(JobFolder, "share", full_disk)
        place.busy = True
        until(lambda: "cannot be written" in supervisor.view("a")["message"], "the trouble")
        assert supervisor.view("a")["phase"] == "running"  # it could not be told
        if mended == "the wish":  # nothing is left to be told
            place.busy = False
            until(lambda: supervisor.view("a")["message"] == "", "the end of the trouble")
    if mended == "the disk":
        reach(supervisor, "a", "yielding")
    assert supervisor.view("a")["message"] == ""


def test_a_copy_that_succeeds_does_not_hide_a_folder_that_cannot_be_written(
    place, monkeypatch, tmp_path
):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, publish=str(tmp_path / "dog.safetensors"))
    reach(supervisor, "a", "running")
    with monkeypatch.context() as patched:
        patched.setattr(Publication, "bring", full_disk)
        supervisor.command("a", "pause")  # its state names a step from then on
        until(lambda: "folder only" in supervisor.view("a")["message"], "one trouble")
        supervisor.command("a", "resume")
        reach(supervisor, "a", "running")
        patched.setattr(JobFolder, "share", full_disk)
        place.busy = True
        until(lambda: "cannot be written" in supervisor.view("a")["message"], "the other")
        publishing = supervisor._board.find("a").publishing
        patched.setattr(Publication, "bring", lambda *_: publishing.published)
        until(lambda: not publishing.trouble, "the copy")
        assert "cannot be written" in supervisor.view("a")["message"]


def test_a_folder_without_locks_is_said_to_have_none(place, monkeypatch):
    first = place.supervisor()
    add(first, "a", steps=LONG)
    first.command("a", "pause")
    first.close()
    with monkeypatch.context() as patched:
        error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        patched.setattr(system, "_try_lock", lambda _: (_ for _ in ()).throw(error))
        supervisor = place.supervisor()
        message = supervisor.view("a")["message"]
        assert "takes no lock" in message
        assert os.strerror(errno.ENOLCK) in message
    until(lambda: supervisor.view("a")["message"] == "", "the locks")
    assert "Another ComfyUI" in place.supervisor().view("a")["message"]


def test_names_that_cannot_be_listed_are_outlasted_and_then_told(place, monkeypatch):
    supervisor, real = place.supervisor(), os.listdir
    monkeypatch.setattr(files, "WINDOWS", True)  # there, refusals are outlasted
    left = [2]

    def refusing(path="."):
        if path == place.root / "jobs" and left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "in use", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refusing)
    add(supervisor, "a")
    assert left == [0]
    left = [10**9]
    with pytest.raises(UserError, match="in use"):
        add(supervisor, "b")
    left = [0]
