"""The worker on real job folders: resumed, killed, commanded, and never on the net."""

import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.small import (
    PATIENCE_S,
    ROOT,
    curve,
    differences,
    environment,
    learned,
    motion_module,
    motion_recipe,
    new_job,
    run,
    spatial_recipe,
    start,
    training_set,
    wait_for,
    weights,
    write_files,
    write_set,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.tensors import file_hash
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.stage.checkpoints import load_checkpoint
from still_moving.training.worker.session import CRASHED, FINISHED, USER_ERROR, run_job

EVERY = {"save_every": 2, "held_out_every": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("files"))


pytestmark = pytest.mark.usefixtures("one_thread")


def life(folder: JobFolder, last_step: int) -> None:
    """Run a job until it has reported a step, then end it in the middle of things."""

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] == last_step:
            # Not an Exception: nothing in the worker gets to tidy up.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(folder, watch)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("made", [motion_recipe(**EVERY), spatial_recipe(**EVERY, ema=0.9)])
def test_an_interrupted_job_is_the_uninterrupted_one(tmp_path, files, made, batch):
    made = dataclasses.replace(made, batch=batch)
    whole, torn = (new_job(tmp_path / name, made, files) for name in ("whole", "torn"))
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


def test_stages_follow_each_other_and_resume_in_the_second(tmp_path, files):
    first, second = motion_recipe(steps=2).stages[0], spatial_recipe(steps=3).stages[0]
    made = dataclasses.replace(motion_recipe(**EVERY), stages=(first, second))
    whole, torn = (new_job(tmp_path / name, made, files) for name in ("whole", "torn"))
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


def test_the_adapter_file_says_where_it_came_from(tmp_path, files):
    job = new_job(tmp_path / "job", spatial_recipe(steps=1), files)
    assert run_job(job) == FINISHED
    info = load_adapter(job.exports / "made.safetensors", kind="spatial").info
    assert (info.rank, info.sites, info.base, info.steps) == (2, "layers", "shapes", 1)
    assert info.checkpoint == file_hash(files["checkpoint"])
    assert info.motion_module == file_hash(files["motion_module"])
    assert (info.checkpoint_name, info.motion_module_name) == (
        "base.safetensors",
        "module.safetensors",
    )
    assert Recipe.from_json(info.recipe) == job.load().recipe


def test_the_export_holds_the_average_of_the_weights(tmp_path, files):
    jobs = [
        new_job(tmp_path / str(ema), motion_recipe(steps=3, ema=ema), files) for ema in (0.0, 0.75)
    ]
    for job in jobs:
        assert run_job(job) == FINISHED
    ends = [load_checkpoint(job.checkpoints) for job in jobs]
    assert ends[0] is not None
    assert ends[1] is not None
    assert differences(ends[0].tensors, ends[1].tensors) == []
    for job, values in ((jobs[0], ends[0].tensors), (jobs[1], ends[1].average)):
        exported = sorted(learned(job).values(), key=lambda tensor: tensor.sum().item())
        kept = sorted(values.values(), key=lambda tensor: tensor.sum().item())
        assert all(map(torch.equal, exported, kept))
    assert len(differences(learned(jobs[0]), learned(jobs[1]))) == 84


def test_all_spatial_weights_are_exported_as_a_checkpoint(tmp_path, files):
    job = new_job(tmp_path / "job", spatial_recipe(steps=1, sites="all"), files)
    assert run_job(job) == FINISHED
    made = read_unet(job.exports / "made.safetensors")
    base = read_unet(files["checkpoint"])
    assert made.base == "shapes"
    assert len(differences({k: t.float() for k, t in base.tensors.items()}, made.tensors)) == len(
        weights().tensors
    )


@pytest.mark.parametrize("spoiled", ["checkpoint", "motion_module", "adapter", "customized"])
def test_a_job_whose_files_changed_is_not_resumed(tmp_path, spoiled):
    own = write_files(tmp_path)
    job = new_job(tmp_path / "job", spatial_recipe(**EVERY), own)
    life(job, 3)
    if spoiled == "customized":
        write_set(own[spoiled], training_set("stills", count=4))
    else:
        tensors = load_file(own[spoiled])
        first = next(iter(tensors))
        tensors[first] = tensors[first] * 1.5
        save_file(tensors, own[spoiled])
    assert run_job(job) == USER_ERROR
    assert "other contents than when the job began" in job.read_state().message
    assert spoiled.replace("_", " ") in job.read_state().message


def spoil_checkpoint(files):
    files["checkpoint"].write_bytes(b"")


def widen_checkpoint(files):
    tensors, first = load_file(files["checkpoint"]), "input_blocks.0.0.weight"
    name = next(name for name in tensors if name.endswith(first))
    more = torch.zeros(tensors[name].shape[0], 5, *tensors[name].shape[2:])
    tensors[name] = torch.cat([tensors[name], more], 1)
    save_file(tensors, files["checkpoint"])


def spoil_module(files):
    files["motion_module"].write_bytes(files["checkpoint"].read_bytes())


def spoil_set(files):
    (files["frames"] / "set.json").unlink()


def swap_set(files):
    wide = training_set("clips")
    items = tuple(dataclasses.replace(item, text=torch.zeros(77, 768)) for item in wide.items)
    write_set(files["frames"] / "wide", dataclasses.replace(wide, items=items))
    files["frames"] = files["frames"] / "wide"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (spoil_checkpoint, "base.safetensors: found an empty file"),
        (widen_checkpoint, "base.safetensors: found an inpainting checkpoint (9 input channels)"),
        (spoil_module, "module.safetensors: found a Stable Diffusion checkpoint"),
        (spoil_set, "no set.json"),
        (swap_set, "text 768 wide, expected 64"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, spoil, named):
    own = write_files(tmp_path)
    spoil(own)
    job = new_job(tmp_path / "job", motion_recipe(), own)
    assert run_job(job) == USER_ERROR
    state = job.read_state()
    assert state.phase == "failed"
    assert named in state.message
    assert not job.exports.exists()
    assert [e["event"] for e in job.read_events()] == ["failed"]


def test_more_frames_than_the_motion_module_has_are_refused(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(frames=9), files)
    assert run_job(job) == USER_ERROR
    assert "room for 8 frames, expected 9 frames" in job.read_state().message


def test_a_crash_leaves_its_traceback_and_a_job_that_resumes(tmp_path, files):
    whole, job = (new_job(tmp_path / n, motion_recipe(**EVERY), files) for n in ("whole", "job"))

    def fail(event: dict) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise RuntimeError("the card fell off the bus")

    assert run_job(job, fail) == CRASHED
    assert job.phase() == "failed"
    assert "the card fell off the bus" in job.read_state().message
    assert "Traceback" in job.log.read_text()
    assert run_job(job) == run_job(whole) == FINISHED
    assert differences(learned(whole), learned(job)) == []
    assert curve(whole) == curve(job)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a full disk"),
        (torch.OutOfMemoryError("tried to allocate"), "memory: found too little"),
    ],
)
def test_lack_of_room_is_told_in_words_and_resumes(tmp_path, files, error, said):
    folder = new_job(tmp_path / "job", motion_recipe(**EVERY), files)

    def fail(event):
        if event["event"] == "saved":
            raise error

    assert run_job(folder, fail) == USER_ERROR
    assert said in folder.read_state().message
    assert not folder.log.exists()
    assert run_job(folder) == FINISHED


def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path, files):
    """A learning rate that blows up: skipped steps, then the end, with finite weights on disk."""
    made = motion_recipe(steps=60, lr=1.0, save_every=1)
    made = dataclasses.replace(made, max_skips=3, weight_decay=0.0, clip_norm=1e9)
    bad = training_set("clips", count=3)
    for item in bad.items:
        item.latents.mul_(1e30)  # finite, but its square is not
    own = {**files, "frames": write_set(tmp_path / "bad", bad)}
    job = new_job(tmp_path / "job", made, own)
    assert run_job(job) == USER_ERROR
    assert "3 non-finite losses in a row" in job.read_state().message
    kinds = [event["event"] for event in job.read_events()]
    assert kinds.count("skipped") == 2
    kept = load_checkpoint(job.checkpoints)
    assert kept is not None
    assert all(torch.isfinite(tensor).all() for tensor in kept.tensors.values())


def commanded(folder: JobFolder, at_step: int, act) -> int:
    """Run a job in this thread and give a command when it reports a step."""

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] == at_step:
            act()

    return run_job(folder, watch)


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


def test_a_stop_before_the_first_step_draws_no_point_twice(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    job.send("stop")
    assert run_job(job) == 0
    assert job.read_state().step == 0
    job.send("run")
    assert run_job(job) == FINISHED
    shown = [(kind, step) for kind, _, step, *_ in curve(job)]
    assert len(shown) == len(set(shown))


def test_save_now_saves_and_goes_on(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    assert commanded(job, 3, lambda: job.send(save=True)) == FINISHED
    told = [(e["event"], e["step"]) for e in job.read_events()]
    assert told.count(("saved", 3)) == 1
    assert told.count(("exported", 3)) == 1
    assert told[-1][0] == "phase"


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


def test_a_killed_worker_goes_on_as_if_nothing_had_happened(tmp_path, files):
    made = motion_recipe(steps=40, save_every=3, held_out_every=5)
    whole, job = (new_job(tmp_path / name, made, files) for name in ("whole", "killed"))
    assert run_job(whole) == FINISHED
    dice = random.Random(0)
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


# urllib3 asks, when it is imported, whether this machine has IPv6: one bind to itself, then closed.
NO_NET = """
import importlib, importlib.util, os, sys
def refuse(event, arguments):
    probe = event == "socket.__new__" or (event, arguments[1:]) == ("socket.bind", (("::1", 0),))
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


@pytest.mark.parametrize("made", [motion_recipe(steps=2), spatial_recipe(steps=2)])
def test_a_job_reaches_for_no_net_and_imports_no_comfyui(tmp_path, files, made):
    job = new_job(tmp_path / "job", made, files)
    done = subprocess.run(
        [sys.executable, "-c", NO_NET, str(ROOT / "__main__.py"), "train", "resume", str(job.path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert job.phase() == "finished"


def test_the_module_under_test_is_not_the_one_in_the_files(files):
    """The files hold fp16 copies: a guard for the comparisons above."""
    made = read_unet(files["checkpoint"]).tensors
    assert {tensor.dtype for tensor in made.values()} == {torch.float16}
    assert motion_module().hash != file_hash(files["motion_module"])
