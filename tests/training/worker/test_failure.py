"""What goes wrong inside a job: told in words, and mended by a resume."""

import dataclasses
import errno
import re

import pytest
import torch

from helpers.small import (
    curve,
    differences,
    learned,
    motion_recipe,
    new_job,
    training_set,
    write_set,
)
from still_moving.training.network.unet import build_unet
from still_moving.training.stage.checkpoints import load_checkpoint
from still_moving.training.worker import preview, session
from still_moving.training.worker.failure import CRASHED, FINISHED, USER_ERROR
from still_moving.training.worker.session import run_job

EVERY = {"save_every": 2, "held_out_every": 3}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_crash_leaves_its_traceback_and_a_job_that_resumes(tmp_path, files):
    whole, job = (new_job(tmp_path / n, motion_recipe(**EVERY), files) for n in ("whole", "job"))

    def fail(event: dict) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise RuntimeError("the card fell off the bus")

    assert run_job(job, fail) == CRASHED
    assert job.phase() == "failed"
    assert "the card fell off the bus" in job.read_state().message
    assert "Traceback" in job.log.read_text(encoding="utf-8")
    assert run_job(job) == run_job(whole) == FINISHED
    assert differences(learned(whole), learned(job)) == []
    assert curve(whole) == curve(job)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a full disk"),
        (torch.OutOfMemoryError("tried to allocate"), "too little while saving after step 2"),
    ],
)
def test_lack_of_room_is_told_in_words_and_resumes(tmp_path, files, error, message):
    folder = new_job(tmp_path / "job", motion_recipe(**EVERY), files)

    def fail(event):
        if event["event"] == "saved":
            raise error

    assert run_job(folder, fail) == USER_ERROR
    assert message in folder.read_state().message
    assert not folder.log.exists()
    assert run_job(folder) == FINISHED


def lacking(monkeypatch, where: str) -> None:
    """Memory that is lacking at a place of a job's life."""

    def run_out(*_) -> None:
        raise torch.OutOfMemoryError("tried to allocate")

    def scarce(*arguments):
        unet = build_unet(*arguments)

        def hook(*_) -> None:
            if torch.is_grad_enabled() == (where == "step"):
                run_out()

        unet.conv_in.register_forward_pre_hook(hook)
        return unet

    if where == "moments":
        monkeypatch.setattr(torch.optim.AdamW, "step", run_out)
    else:
        made = run_out if where == "loading" else scarce
        monkeypatch.setattr(session, "build_unet", made)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loading", "memory: found too little while loading the network"),
        ("moments", r"too little for AdamW's two moments.*GiB, and half as much for gradients"),
        ("held-out", "too little to measure the held-out loss after step 0"),
        ("step", "too little for step 1 in every memory tier"),
    ],
)
def test_lack_of_memory_names_what_it_was_lacking_for(tmp_path, files, monkeypatch, where, message):
    folder = new_job(tmp_path / "job", motion_recipe(**EVERY), files)
    lacking(monkeypatch, where)
    assert run_job(folder) == USER_ERROR
    assert re.search(message, folder.read_state().message)
    assert ("load" in folder.read_state().message) == (where == "loading")
    assert not folder.log.exists()


@pytest.mark.slow
def test_a_clip_without_room_is_told_and_training_goes_on(tmp_path, files, monkeypatch):
    recipe = motion_recipe(steps=2, held_out_every=99)
    folder = new_job(tmp_path / "job", dataclasses.replace(recipe, held_out=0), files)
    lacking(monkeypatch, "clip")
    folder.send(sample=True)
    events = []
    job = dataclasses.replace(folder.load(), sample_every=1)
    with folder.owned():
        assert session.run_owned(folder, job, events.append) == FINISHED
    reasons = {e["reason"] for e in events if e["event"] == "sample_failed"}
    assert reasons == {preview.NO_ROOM}


@pytest.mark.slow
def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path, files):
    """A learning rate that blows up: skipped steps, then the end, with finite weights on disk."""
    recipe = motion_recipe(steps=60, lr=1.0, save_every=1)
    recipe = dataclasses.replace(recipe, max_skips=3, weight_decay=0.0, clip_norm=1e9)
    bad = training_set("clips", count=3)
    for item in bad.items:
        item.latents.mul_(1e30)  # finite, but its square is not
    own = {**files, "frames": write_set(tmp_path / "bad", bad)}
    job = new_job(tmp_path / "job", recipe, own)
    assert run_job(job) == USER_ERROR
    assert "3 non-finite losses in a row" in job.read_state().message
    kinds = [event["event"] for event in job.read_events()]
    assert kinds.count("skipped") == 2
    kept = load_checkpoint(job.checkpoints)
    assert kept is not None
    assert all(torch.isfinite(tensor).all() for tensor in kept.tensors.values())
