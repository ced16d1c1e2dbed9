"""A worker's life on a card: run, killed, resumed, giving way, its samples and exports."""

import gc
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file

from helpers import reference_clips, small
from helpers.disturbed import same, until
from helpers.small import (
    curve,
    differences,
    motion_recipe,
    new_job,
    run,
    spatial_recipe,
    start,
    wait_for,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.embedding import load_embedding
from still_moving.training.jobs.job import JobFolder
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

EVERY = {"save_every": 2, "held_out_every": 3}
RECIPES = {
    "motion": motion_recipe(**EVERY),
    "layers, fp16": spatial_recipe(**EVERY, dtype="float16"),
    "all, bf16": spatial_recipe(**EVERY, sites="all", dtype="bfloat16", ema=0.9),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return small.write_files(tmp_path_factory.mktemp("files"))


def job_of(path, recipe, files, **more) -> JobFolder:
    return new_job(path, recipe, files, device="cuda", **more)


def events_of(folder: JobFolder, kind: str) -> list[dict]:
    return [event for event in folder.read_events() if event["event"] == kind]


@pytest.mark.parametrize("name", RECIPES)
def test_an_interrupted_job_is_the_uninterrupted_one(tmp_path, files, name):
    kinds = {"whole": 4, "torn": 0}  # steps between samples, which change nothing
    whole, torn = (
        job_of(tmp_path / kind, RECIPES[name], files, sample_every=every)
        for kind, every in kinds.items()
    )
    assert run_job(whole) == FINISHED, whole.read_state()

    def end(event: dict) -> None:
        if (event["event"], event["step"]) in (("step", 1), ("step", 3)):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_job(torn, end)
    assert run_job(torn) == FINISHED
    assert curve(whole) == curve(torn)
    exported = [load_file(folder.exports / "made.safetensors") for folder in (whole, torn)]
    assert differences(*exported) == []
    assert [event["file"] for event in events_of(whole, "sample")] == ["4.webp"]
    assert (whole.samples / "4.webp").is_file()
    assert len(events_of(whole, "held_out")) == 3


def test_a_worker_that_was_killed_goes_on_in_another_process(tmp_path, files):
    recipe = motion_recipe(steps=12, **EVERY)
    whole, job = (job_of(tmp_path / kind, recipe, files) for kind in ("whole", "killed"))
    assert run_job(whole) == FINISHED
    child = start("train", "resume", job.path)
    wait_for(lambda: len(events_of(job, "step")) >= 5, child, "step 5")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert job.phase() == "interrupted"
    done = run("train", "resume", job.path, "--json")
    assert done.returncode == 0, done.stderr
    same(whole, job)


def test_a_worker_gives_the_card_away_and_takes_it_back(tmp_path, files):
    whole, job = (job_of(tmp_path / kind, RECIPES["motion"], files) for kind in ("whole", "job"))
    assert run_job(whole) == FINISHED
    gc.collect()  # its network
    held = []

    def comfyui() -> None:
        try:
            until(lambda: job.phase() == "yielding", "the card")
            held.append(torch.cuda.memory_allocated())
        finally:
            job.share("run")

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] == 3:
            held.append(torch.cuda.memory_allocated())
            job.share("yield")
            thread.start()

    thread = threading.Thread(target=comfyui)
    assert run_job(job, watch) == FINISHED
    thread.join()
    training, yielding = held
    assert yielding < training / 20
    same(whole, job)


def test_the_second_stage_holds_one_network_as_the_first_did(tmp_path, files):
    """Trained words and a LoRA in the first, motion in the second."""
    recipe = reference_clips.RECIPES["customize, both"]
    own = {**files, **reference_clips.write_sets(tmp_path / "sets")}
    job = reference_clips.new_job(tmp_path / "job", recipe, own, device="cuda")
    gc.collect()
    before, held = torch.cuda.memory_allocated(), {}

    def watch(event: dict) -> None:
        if event["event"] == "step":
            held[event["stage"]] = torch.cuda.memory_allocated() - before

    assert run_job(job, watch) == FINISHED, job.read_state()
    assert held[1] < 1.1 * held[0]
    assert load_embedding(job.exports / "made appearance words.safetensors").words
    assert load_adapter(job.exports / "made.safetensors", kind="motion").pairs
