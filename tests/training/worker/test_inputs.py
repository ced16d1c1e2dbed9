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
from still_moving.adapters.files.motion_parts import Part, hash_of, to_metadata
from still_moving.adapters.files.tensors import file_hash, read_tensors, write_tensors
from still_moving.training.worker.failure import USER_ERROR
from still_moving.training.worker.inputs import Inputs
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


def test_a_merged_module_that_was_changed_is_noticed(tmp_path, files):
    """Its hash says what it was merged from, and would be the same."""
    tensors, _ = read_tensors(files["motion_module"])
    parts = tuple(Part(files["motion_module"], hash, hash, 0.5) for hash in "ab")
    seen = []
    for change in (1.0, 1.5):
        changed = {name: change * tensor for name, tensor in tensors.items()}
        path = tmp_path / "merged.safetensors"
        write_tensors(path, changed, to_metadata(parts))
        given = {**files, "motion_module": path}
        inputs = Inputs.read(new_job(tmp_path / str(change), motion_recipe(), given).load())
        assert inputs.motion.hash == hash_of(parts)
        seen.append(inputs.fingerprints(0, tmp_path)["motion module"])
    assert seen[0] != seen[1]
