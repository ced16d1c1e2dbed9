"""Jobs that are disturbed, held against one that nobody disturbed."""

import time
from collections.abc import Callable
from pathlib import Path

from helpers.small import PATIENCE_S, curve, differences, learned, new_job
from still_moving.training.jobs.job import JobFolder
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job


def until(truth: Callable[[], object], description: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline, f"waited too long for {description}"
        time.sleep(0.01)


def undisturbed(tmp_path: Path, recipe, files) -> JobFolder:
    folder = new_job(tmp_path / "undisturbed", recipe, files)
    assert run_job(folder) == FINISHED
    return folder


def same(one: JobFolder, other: JobFolder) -> None:
    assert differences(learned(one), learned(other)) == []
    assert curve(one) == curve(other)
