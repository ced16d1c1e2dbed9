"""The files that a job names: found to fit, or refused by name."""

import dataclasses

import pytest
import torch
from safetensors.torch import load, save_file

from helpers.small import (
    motion_module,
    motion_recipe,
    new_job,
    training_set,
    write_files,
    write_set,
)
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.tensors import file_hash
from still_moving.training.worker.failure import USER_ERROR
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.usefixtures("one_thread")


def spoil_checkpoint(files):
    files["checkpoint"].write_bytes(b"")


def spoil_module(files):
    files["motion_module"].write_bytes(files["checkpoint"].read_bytes())


def spoil_set(files):
    (files["frames"] / "set.json").unlink()


def swap_set(files):
    wide = training_set("clips")
    items = tuple(dataclasses.replace(item, text=torch.zeros(77, 768)) for item in wide.items)
    write_set(files["frames"] / "wide", dataclasses.replace(wide, items=items))
    files["frames"] = files["frames"] / "wide"


def widen_checkpoint(files):
    tensors = load(files["checkpoint"].read_bytes())  # not mapped: Windows could not rewrite it
    first = "input_blocks.0.0.weight"
    name = next(name for name in tensors if name.endswith(first))
    more = torch.zeros(tensors[name].shape[0], 5, *tensors[name].shape[2:])
    tensors[name] = torch.cat([tensors[name], more], 1)
    save_file(tensors, files["checkpoint"])


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


def test_the_module_under_test_is_not_the_one_in_the_files(files):
    """The files hold fp16 copies: a guard for the comparisons above."""
    tensors = read_unet(files["checkpoint"]).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert motion_module().hash != file_hash(files["motion_module"])
