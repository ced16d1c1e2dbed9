"""A job that ends in the middle of things and is taken up again."""

import dataclasses
import os
import signal
import time

import pytest
from safetensors.torch import load, save_file

from helpers.small import (
    curve,
    differences,
    learned,
    motion_recipe,
    new_job,
    run,
    spatial_recipe,
    start,
    training_set,
    wait_for,
    write_files,
    write_set,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.training.jobs.job import JobFolder
from still_moving.training.stage.checkpoints import load_checkpoint
from still_moving.training.worker.failure import FINISHED, USER_ERROR
from still_moving.training.worker.session import run_job

EVERY = {"save_every": 2, "held_out_every": 3}


pytestmark = pytest.mark.usefixtures("one_thread")


def life(folder: JobFolder, last_step: int) -> None:
    """Run a job until it has reported a step, then end it in the middle of things."""

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] == last_step:
            # Not an Exception: nothing in the worker gets to tidy up.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(folder, watch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "batch"),
    [  # of a single stage, tests/training/stage/test_loop.py asks this for each recipe and batch
        (motion_recipe(**EVERY), 1),
        (spatial_recipe(**EVERY, ema=0.9), 2),
        pytest.param(motion_recipe(**EVERY), 2, marks=pytest.mark.night),
        pytest.param(spatial_recipe(**EVERY, ema=0.9), 1, marks=pytest.mark.night),
    ],
)
def test_an_interrupted_job_is_the_uninterrupted_one(tmp_path, files, recipe, batch):
    recipe = dataclasses.replace(recipe, batch=batch)
    whole, torn = (new_job(tmp_path / name, recipe, files) for name in ("whole", "torn"))
    assert run_job(whole) == FINISHED
    # Ends before the first save, right after one, between two, and in the last step.
    for last_step in (1, 2, 5, 6):
        life(torn, last_step)
        assert torn.phase() == "interrupted"
    assert run_job(torn) == FINISHED
    assert torn.phase() == "finished"
    assert differences(learned(whole), learned(torn)) == []
    assert curve(whole) == curve(torn)
    steps = [event["step"] for event in torn.read_events() if event["event"] == "step"]
    assert steps == [1, 2, 3, 4, 5, 6]
    ends = [load_checkpoint(folder.checkpoints) for folder in (whole, torn)]
    assert ends[0] is not None
    assert ends[1] is not None
    for part in ("tensors", "optimizer", "average"):
        assert differences(getattr(ends[0], part), getattr(ends[1], part)) == []


def test_a_finished_job_run_again_changes_nothing(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(steps=2), files)
    assert run_job(job) == FINISHED
    before, shown = learned(job), curve(job)
    assert run_job(job) == FINISHED
    assert differences(before, learned(job)) == []
    assert curve(job) == shown


@pytest.mark.slow
def test_stages_follow_each_other_and_resume_in_the_second(tmp_path, files):
    first, second = motion_recipe(steps=2).stages[0], spatial_recipe(steps=3).stages[0]
    recipe = dataclasses.replace(motion_recipe(**EVERY), stages=(first, second))
    whole, torn = (new_job(tmp_path / name, recipe, files) for name in ("whole", "torn"))
    assert run_job(whole) == FINISHED

    def second_stage(event: dict) -> None:
        if (event["event"], event.get("stage"), event["step"]) == ("step", 1, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(torn, second_stage)
    assert run_job(torn) == FINISHED
    assert load_adapter(torn.exports / "made motion.safetensors").info.kind == "motion"
    assert load_adapter(torn.exports / "made.safetensors").info.kind == "spatial"
    assert differences(learned(whole), learned(torn)) == []
    assert curve(whole) == curve(torn)


@pytest.mark.slow
@pytest.mark.parametrize("spoiled", ["checkpoint", "motion_module", "adapter", "customized"])
def test_a_job_whose_files_changed_is_not_resumed(tmp_path, spoiled):
    own = write_files(tmp_path)
    job = new_job(tmp_path / "job", spatial_recipe(**EVERY), own)
    life(job, 3)
    if spoiled == "customized":
        write_set(own[spoiled], training_set("stills", count=4))
    else:
        tensors = load(own[spoiled].read_bytes())  # not mapped: Windows could not rewrite it
        first = next(iter(tensors))
        tensors[first] = tensors[first] * 1.5
        save_file(tensors, own[spoiled])
    assert run_job(job) == USER_ERROR
    assert "other contents than when the job began" in job.read_state().message
    assert spoiled.replace("_", " ") in job.read_state().message


@pytest.mark.slow
def test_a_killed_worker_goes_on_as_if_nothing_had_happened(tmp_path, files, dice):
    recipe = motion_recipe(steps=40, save_every=3, held_out_every=5)
    whole, job = (new_job(tmp_path / name, recipe, files) for name in ("whole", "killed"))
    assert run_job(whole) == FINISHED
    for least in (4, 16, 28):
        child = start("train", "resume", job.path)

        def steps() -> int:
            return max((e["step"] for e in job.read_events() if e["event"] == "step"), default=0)

        wait_for(lambda goal=least: steps() >= goal, child, f"step {least}")
        time.sleep(dice.uniform(0, 0.3))
        child.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        child.communicate()
        assert job.phase() == "interrupted"
        assert load_checkpoint(job.checkpoints) is not None
    done = run("train", "resume", job.path, "--json")
    assert done.returncode == 0, done.stderr
    assert differences(learned(whole), learned(job)) == []
    assert curve(whole) == curve(job)
