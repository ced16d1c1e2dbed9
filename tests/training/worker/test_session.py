"""The worker on real job folders: commanded, obeying from elsewhere, and never on the net."""

import subprocess
import sys
import threading
import time

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
    spatial_recipe,
    start,
    wait_for,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.usefixtures("one_thread")


def commanded(folder: JobFolder, at_step: int, act) -> int:
    """Run a job in this thread and give a command when it reports a step."""

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] == at_step:
            act()

    return run_job(folder, watch)


@pytest.mark.slow
def test_stop_saves_and_writes_the_adapter(tmp_path, files):
    whole, job = (new_job(tmp_path / n, motion_recipe(), files) for n in ("whole", "job"))
    assert commanded(job, 3, lambda: job.send("stop")) == 0
    assert job.phase() == "stopped"
    assert (job.read_state().step, job.read_state().steps) == (3, 6)
    assert load_adapter(job.exports / "made.safetensors").info.steps == 3
    job.send("run")
    assert run_job(job) == run_job(whole) == FINISHED
    assert differences(learned(whole), learned(job)) == []
    assert curve(whole) == curve(job)


@pytest.mark.parametrize("wish", ["run", "pause"])
def test_a_stop_that_is_taken_back_while_files_are_written_leaves_the_job_waiting(
    tmp_path, files, wish
):
    job = new_job(tmp_path / "job", motion_recipe(), files)

    def change(event: dict) -> None:
        if event["event"] == "step" and event["step"] == 3:
            job.send("stop")
        elif event["event"] == "exported" and event["step"] == 3:
            job.send(wish)

    assert run_job(job, change) == 0
    assert (job.read_state().phase, job.read_state().step) == ("waiting", 3)


@pytest.mark.slow
def test_a_stop_before_the_first_step_draws_no_point_twice(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    job.send("stop")
    assert run_job(job) == 0
    assert job.read_state().step == 0
    job.send("run")
    assert run_job(job) == FINISHED
    shown = [(kind, step) for kind, _, step, *_ in curve(job)]
    assert len(shown) == len(set(shown))


@pytest.mark.slow
def test_save_now_saves_and_goes_on(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    assert commanded(job, 3, lambda: job.send(save=True)) == FINISHED
    events = [(e["event"], e["step"]) for e in job.read_events()]
    assert events.count(("saved", 3)) == 1
    assert events.count(("exported", 3)) == 1
    assert events[-1][0] == "phase"


@pytest.mark.slow
def test_pause_waits_and_save_works_meanwhile(tmp_path, files):
    whole, job = (new_job(tmp_path / n, motion_recipe(), files) for n in ("whole", "job"))
    seen = []

    def artist() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while job.phase() != "paused" and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send(save=True)
        exported = job.exports / "made.safetensors"
        while not exported.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.extend([exported.exists(), job.phase(), job.read_state().step])
        job.send("run")

    thread = threading.Thread(target=artist)
    thread.start()
    assert commanded(job, 2, lambda: job.send("pause")) == FINISHED
    thread.join()
    assert seen == [True, "paused", 2]
    assert run_job(whole) == FINISHED
    assert differences(learned(whole), learned(job)) == []


@pytest.mark.slow
def test_a_worker_obeys_from_another_process(tmp_path, files):
    """The whole conversation with a real worker, by the commands of the command line."""
    job = new_job(tmp_path / "job", motion_recipe(steps=100_000, save_every=10), files)
    child = start("train", "resume", job.path)
    try:
        wait_for(lambda: job.read_state().step >= 10, child, "ten steps")
        assert job.phase() == "running"
        with pytest.raises(UserError, match="a worker already at this job"):
            run_job(job)
        job.send("pause")
        wait_for(lambda: job.phase() == "paused", child, "pausing")
        before = curve(job)
        time.sleep(0.5)
        assert curve(job) == before
        job.send("run")
        wait_for(lambda: job.phase() == "running", child, "running")
        job.send("stop")
        out, err = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
    assert (child.returncode, job.phase()) == (0, "stopped"), err
    assert "made.safetensors" in out
    assert learned(job)


# urllib3 asks, when it is imported, whether this machine has IPv6: one bind to itself, then closed.
NO_NET = """
import importlib, importlib.util, os, sys
def refuse(event, arguments):
    local = ("socket.__new__", "socket.gethostname")  # this machine's own name is no net
    probe = event in local or (event, arguments[1:]) == ("socket.bind", (("::1", 0),))
    if event.startswith("socket.") and not probe:
        print(event, arguments, file=sys.stderr, flush=True)
        os._exit(99)
sys.addaudithook(refuse)
spec = importlib.util.spec_from_file_location("main", sys.argv.pop(1))
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
main.load_pack()
code = importlib.import_module("still_moving.cli").main()
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"comfy", "comfy_api", "nodes", "server"}, loaded
assert os.environ["HF_HUB_OFFLINE"] == "1"
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [motion_recipe(steps=2), spatial_recipe(steps=2)])
def test_a_job_reaches_for_no_net_and_imports_no_comfyui(tmp_path, files, recipe):
    job = new_job(tmp_path / "job", recipe, files)
    done = subprocess.run(
        [sys.executable, "-c", NO_NET, str(ROOT / "__main__.py"), "train", "resume", str(job.path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert job.phase() == "finished"
