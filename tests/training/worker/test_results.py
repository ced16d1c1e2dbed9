"""What the worker writes for a stage is what the table of sites says."""

from pathlib import Path

import pytest

from helpers.reference_clips import WORDS, new_training
from helpers.small import FRAMES, motion_module, weights
from still_moving.adapters.files import kinds
from still_moving.adapters.files.tensors import read_tensors
from still_moving.training.jobs.job import Job
from still_moving.training.recipes.recipe import Recipe, Source, Stage, validate
from still_moving.training.recipes.sites import SITES
from still_moving.training.worker.results import export

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
    path = tmp_path / "result.safetensors"
    job = Job("result", recipe, "", "", {})
    result, *beside = export(path, training, job, weights(), motion_module())
    assert (result, kind_of(result)) == (path, KINDS[site.result])
    expected = [kinds.EMBEDDING] if site.words and site.result != "embedding" else []
    assert [kind_of(other) for other in beside] == expected
