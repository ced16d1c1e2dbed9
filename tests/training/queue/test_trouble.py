"""What goes wrong with a job is told as long as it is so, and no longer."""

import errno
import os

import pytest

from helpers.queue_place import LONG, add, reach, until
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
