"""A training that is ended from outside goes on from its last checkpoint, bit for bit.

Ctrl+C and, on Windows, Ctrl+Break end it with a word. A console that is closed, or a system that
shuts down, asks nobody: that is a kill, and what the last checkpoint lacks is taken again.
"""

import signal
import subprocess
import sys

import pytest

from helpers.small import (
    PATIENCE_S,
    ROOT,
    curve,
    differences,
    environment,
    learned,
    motion_recipe,
    new_job,
    wait_for,
    write_files,
)
from still_moving.common.system import WINDOWS
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

# A shell's background command ignores Ctrl+C, and so would its children.
HEARS = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
HEARING = [sys.executable, "-c", HEARS, str(ROOT / "__main__.py")]
ENDS = ["CTRL_BREAK_EVENT", "SIGTERM"] if WINDOWS else ["SIGINT", "SIGTERM", "SIGHUP"]
WITH_A_WORD = ("SIGINT", "CTRL_BREAK_EVENT")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_a_training_from_outside_loses_no_step_for_good(tmp_path, end):
    files, recipe = write_files(tmp_path), motion_recipe(steps=60, save_every=5)
    whole, job = (new_job(tmp_path / name, recipe, files) for name in ("whole", "job"))
    with subprocess.Popen(
        [*HEARING, "train", "resume", str(job.path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    ) as child:
        wait_for(lambda: job.read_state().step >= 10, child, "ten steps")
        try:
            child.send_signal(getattr(signal, end))
        except OSError as error:  # Windows sends Ctrl+Break through a console
            child.kill()
            pytest.skip(f"no console to press Ctrl+Break in ({error})")
        _, err = child.communicate(timeout=PATIENCE_S)
    assert (job.phase(), job.read_state().step % 5) == ("interrupted", 0)
    assert "Traceback" not in err
    if end in WITH_A_WORD:
        assert child.returncode == 130
        assert f"train resume {job.path}" in err
    assert run_job(job) == run_job(whole) == FINISHED
    assert differences(learned(whole), learned(job)) == []
    assert curve(whole) == curve(job)
