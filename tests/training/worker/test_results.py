"""What the worker writes for a stage is what the table of sites says."""

from pathlib import Path

import pytest
import torch

from helpers.reference_clips import WORDS, new_training
from helpers.small import (
    FRAMES,
    differences,
    learned,
    motion_module,
    motion_recipe,
    new_job,
    spatial_recipe,
    weights,
)
from still_moving.adapters.files import kinds
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.tensors import file_hash, read_tensors
from still_moving.training.jobs.job import Job
from still_moving.training.recipes.recipe import Recipe, Source, Stage, validate
from still_moving.training.recipes.sites import SITES
from still_moving.training.stage.checkpoints import load_checkpoint
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.results import export
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = {
    "Motion Adapter": kinds.MOTION_LORA,
    "Spatial Adapter": kinds.SPATIAL_ADAPTER,
    "motion weights": kinds.MOTION_WEIGHTS,
    "checkpoint": kinds.CHECKPOINT,
    "image LoRA": kinds.IMAGE_LORA,
    "embedding": kinds.EMBEDDING,
}


def kind_of(path: Path) -> kinds.Kind | None:
    return kinds.kind_of(read_tensors(path)[0])


@pytest.mark.parametrize("name", SITES)
def test_the_worker_writes_what_a_site_results_in(tmp_path, name):
    site = SITES[name]
    words = WORDS if site.words else ()
    stage = Stage("one", name, (Source("clip", "clip"),), steps=1, rank=2, words=words)
    recipe = validate(Recipe("one", (stage,), frames=FRAMES, held_out=0, tier="none"), "recipe")
    training = new_training(recipe)
    training.advance()
    job = Job("result", recipe, "", "", {})
    result, *beside = export(tmp_path, training, job, weights(), motion_module())
    assert result == "result.safetensors"
    assert kind_of(tmp_path / result) == KINDS[site.result]
    expected = [kinds.EMBEDDING] if site.words and site.result != "embedding" else []
    assert [kind_of(tmp_path / other) for other in beside] == expected


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


@pytest.mark.slow
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
    exported = read_unet(job.exports / "made.safetensors")
    base = read_unet(files["checkpoint"])
    assert exported.base == "shapes"
    assert len(
        differences({k: t.float() for k, t in base.tensors.items()}, exported.tensors)
    ) == len(weights().tensors)
