"""What is copied to where artists find it: whole, in nobody else's place, and never lost."""

import errno
import os
import sys
from pathlib import Path

import pytest

from helpers import small
from helpers.under_wine import UNDER_WINE
from still_moving.common import files
from still_moving.training.jobs import published
from still_moving.training.jobs.copies import copy_name
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.jobs.published import InUse, Publication, same_name
from still_moving.training.jobs.ticket import Ticket, read_published

NAME, WORDS = "dog.safetensors", "dog words.safetensors"


class Exported:
    """A job whose folder holds exports, and where they go."""

    def __init__(self, root: Path, id: str = "a", words: bool = False):
        self.loras, self.embeddings = root / "loras", root / "embeddings"
        self.folder = JobFolder.create(
            root / "jobs" / id, Job("dog", small.motion_recipe(), "/b", "/m", {})
        )
        others = {WORDS: str(self.embeddings / NAME)} if words else {}
        self.ticket = Ticket(
            id, "dog", "motion", "", 0.0, "yield", str(self.loras / NAME), (), others
        )
        self.folder.exports.mkdir()
        self.names = (NAME, WORDS) if words else (NAME,)
        self.publication = Publication(self.folder, self.folder.load(), self.ticket)

    def export(self, text: str) -> None:
        for name in self.names:
            (self.folder.exports / name).write_text(text, encoding="utf-8")

    def delete(self) -> None:
        files.append_text(self.folder.deleted, "")


@pytest.fixture
def job(tmp_path) -> Exported:
    return Exported(tmp_path)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def refuse(monkeypatch, *places: Path) -> None:
    """As when another program has these open."""
    real = published._replace

    def replace(source, target):
        if target in places:
            raise InUse(target)
        real(source, target)

    monkeypatch.setattr(published, "_replace", replace)


def fill_the_disk(monkeypatch) -> None:
    """It is full after the first part of a copy."""

    def read_at(path, offset):
        if offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return b"x"

    monkeypatch.setattr(published, "_read_at", read_at)


def test_a_copy_that_fails_leaves_no_half_behind(job, monkeypatch):
    """It would keep the disk full that it failed on."""
    job.export("new")
    with monkeypatch.context() as patched:
        fill_the_disk(patched)
        with pytest.raises(OSError, match="No space"):
            job.publication.bring()
    assert texts(job.loras) == {}
    job.publication.bring()
    assert texts(job.loras) == {NAME: "new"}


def test_copies_of_jobs_that_are_gone_are_swept_and_no_other(job, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ABANDONED_S", -60.0)  # all are old
    other = Exported(tmp_path, "b")
    job.export("new")
    other.export("new")
    job.loras.mkdir()
    living = copy_name("b", NAME)
    for name in (copy_name("gone", NAME), living, "mine.part"):
        (job.loras / name).write_text("half", encoding="utf-8")
    job.publication.bring()
    assert set(texts(job.loras)) == {NAME, living, "mine.part"}


@pytest.mark.skipif(UNDER_WINE, reason="Wine does not keep the time at which a file was made")
def test_a_copy_that_was_just_begun_is_not_swept(job):
    job.export("new")
    job.loras.mkdir()
    theirs = job.loras / copy_name("of another root", NAME)
    theirs.write_text("half", encoding="utf-8")
    os.utime(theirs, (0, 0))  # as old as its export
    job.publication.bring()
    assert theirs.exists()


def test_a_promised_place_that_somebody_took_meanwhile_is_theirs(job, monkeypatch):
    """The look for a free name and the rename are as far apart as a copy takes."""
    job.export("new")
    real = published._read_at

    def slow(path, offset):
        (job.loras / NAME).write_text("somebody else's", encoding="utf-8")
        return real(path, offset)

    monkeypatch.setattr(published, "_read_at", slow)
    taken = {same_name(job.loras / "dog 2.safetensors")}
    record = job.publication.bring(taken)
    assert texts(job.loras) == {NAME: "somebody else's", "dog 3.safetensors": "new"}
    assert Path(record.path).name == "dog 3.safetensors"
    monkeypatch.undo()
    job.export("newer")
    job.publication.bring()
    assert texts(job.loras) == {NAME: "somebody else's", "dog 3.safetensors": "newer"}


def test_what_is_in_use_keeps_nothing_else(tmp_path, monkeypatch):
    job = Exported(tmp_path, words=True)
    job.export("old")
    job.publication.bring()
    job.export("newest")
    with monkeypatch.context() as patched:
        refuse(patched, job.embeddings / NAME)
        with pytest.raises(InUse):
            job.publication.bring()
        assert texts(job.loras) == {NAME: "newest"}
        job.delete()
        job.publication.withdraw(copying=False)
    assert texts(job.loras) == {NAME: "newest"}
    assert texts(job.embeddings) == {NAME: "old", "dog 2.safetensors": "newest"}


def test_a_deletion_brings_what_is_not_yet_brought(job):
    job.export("new")
    job.delete()
    with pytest.raises(BlockingIOError):
        job.publication.withdraw(copying=False)
    job.publication.withdraw()
    assert texts(job.loras) == {NAME: "new"}
    job.publication.withdraw(copying=False)  # again, after a crash
    assert texts(job.loras) == {NAME: "new"}


def test_what_a_deletion_has_the_worker_write_replaces_nothing(job):
    """Who deletes a run that went wrong keeps what was saved before that."""
    job.export("saved")
    job.publication.bring()
    job.delete()
    export = job.folder.exports / NAME
    job.export("gone wrong")
    later = job.folder.deleted.stat().st_mtime + 10
    os.utime(export, (later, later))
    job.publication.withdraw()
    assert texts(job.loras) == {NAME: "saved"}


def test_what_was_on_its_way_arrives_though_the_worker_writes_on(job, monkeypatch):
    job.export("saved")
    with monkeypatch.context() as patched:
        fill_the_disk(patched)
        with pytest.raises(OSError, match="No space"):
            job.publication.bring()
    job.delete()
    job.export("the last")
    later = job.folder.deleted.stat().st_mtime + 10
    os.utime(job.folder.exports / NAME, (later, later))
    job.publication.withdraw()
    assert texts(job.loras) == {NAME: "the last"}


@pytest.mark.parametrize("crash", [False, True])
def test_what_is_in_use_at_a_deletion_stays_and_the_newest_gets_a_free_name(
    job, monkeypatch, crash
):
    job.export("old")
    job.publication.bring()
    job.export("newest")
    job.delete()
    refuse(monkeypatch, job.loras / NAME)
    taken = {same_name(job.loras / "dog 2.safetensors")}  # another job's, which copies it
    if crash:  # when the copy has its name and the record does not say so
        real = Publication._remember
        monkeypatch.setattr(
            Publication,
            "_remember",
            lambda self, places, stamp: (
                real(self, places, stamp) if stamp == before else sys.exit("killed")
            ),
        )
        before = read_published(job.folder.path).stamp
        with pytest.raises(SystemExit):
            job.publication.withdraw(taken)
        monkeypatch.setattr(Publication, "_remember", real)
    Publication(job.folder, job.folder.load(), job.ticket).withdraw(taken)
    assert texts(job.loras) == {NAME: "old", "dog 3.safetensors": "newest"}
