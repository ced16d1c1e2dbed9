"""A job folder that was copied with its read-only attributes, as from a disc, is worked on."""

from pathlib import Path

import pytest

from helpers.small import motion_recipe
from still_moving.common import files
from still_moving.training.jobs.job import Job, JobFolder, State

JOB = Job("my dog", motion_recipe(), "/a/base.safetensors", "/a/mm.ckpt", {"frames": "/a/set"})


def make_read_only(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.usefixtures("like_windows")
def test_a_copy_that_is_read_only_is_worked_on(tmp_path):
    folder = JobFolder.create(tmp_path / "job", JOB)
    for step in range(2):
        with folder.owned():
            assert folder.phase() == "loading"
            folder.write_state(State("running", step=step))
            folder.send("pause", save=True)
            folder.share("yield")
            folder.report("step", stage=0, step=step)
            folder.report("step", stage=0, step=99)
            folder.cut_events(0, step)
            folder.report("phase", stage=0, step=step)
            files.append_text(folder.log, "a line\n")
        make_read_only(folder.path)
    assert folder.read_state() == State("running", step=1)
    assert [event["step"] for event in folder.read_events()] == [0, 0, 1, 1]
    assert folder.log.read_bytes() == b"a line\n" * 2
    assert files.read_bytes(folder.events).count(b"\r") == 0
    files.remove_tree(folder.path)
    assert not folder.path.exists()
