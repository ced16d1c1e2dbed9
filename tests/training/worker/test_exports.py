"""What a worker writes is what is published: no method's adapter or words are left behind."""

from pathlib import Path

import pytest

from helpers import small
from helpers.reference_clips import RECIPES, new_training
from helpers.small import motion_module, weights
from still_moving.adapters.files.embedding import load_embedding
from still_moving.common.errors import UserError
from still_moving.training.jobs.exports import adapter_of, embeddings_of, exports_of
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.jobs.published import Publication
from still_moving.training.jobs.ticket import Ticket
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.worker.results import export

STILL_MOVING = {
    "motion": small.motion_recipe(),
    "spatial": small.spatial_recipe(),
    "spatial, all": small.spatial_recipe(sites="all"),
}
ALL = {**STILL_MOVING, **RECIPES}


def new_job(path: Path, recipe: Recipe) -> JobFolder:
    return JobFolder.create(path, Job("my dog", recipe, "/base", "/module", {}))


def export_all(folder: JobFolder) -> set[str]:
    """Write what every stage would; returns the names that it gave."""
    job, written = folder.load(), set()
    folder.exports.mkdir()
    for index in range(len(job.recipe.stages)):
        still = job.recipe in STILL_MOVING.values()
        training = small.new_training(job.recipe) if still else new_training(job.recipe, index)
        written |= set(export(folder.exports, training, job, weights(), motion_module()))
    return written


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
def test_what_every_method_writes_is_what_is_copied(tmp_path, recipe):
    folder = new_job(tmp_path / "job", recipe)
    job, written = folder.load(), export_all(folder)
    exports = files_in(folder.exports)
    assert set(exports) == written == {n for names in exports_of(job) for n in names.names}
    for name in embeddings_of(job):
        assert load_embedding(folder.exports / name).words == job.recipe.stages[0].words

    out = tmp_path / "out"
    others = {name: str(out / name) for name in embeddings_of(job)}
    target = str(out / "published.safetensors")
    ticket = Ticket("job", "my dog", "vmc", "node", 0.0, publish=target, others=others)
    Publication(folder, job, ticket).bring()
    kept = {name: exports[name] for name in others}
    assert files_in(out) == {"published.safetensors": exports[adapter_of(job)], **kept}
    # What stays behind is what later stages hold fixed, and trains no words of its own.
    left = written - set(others) - {adapter_of(job)}
    assert left <= {names.weights for names in exports_of(job)[:-1]}


def test_words_that_are_gone_are_said_and_nothing_is_copied(tmp_path):
    folder = new_job(tmp_path / "job", RECIPES["customize, both"])
    job, target = folder.load(), tmp_path / "out" / "it.safetensors"
    folder.exports.mkdir()
    (folder.exports / adapter_of(job)).write_text("an adapter", encoding="utf-8")
    (name,) = embeddings_of(job)
    others = {name: str(tmp_path / "out" / "words")}
    ticket = Ticket("job", "it", "vmc", "node", 0.0, publish=str(target), others=others)
    with pytest.raises(UserError, match=r"words\.safetensors: found nothing"):
        Publication(folder, job, ticket).bring()
    assert not target.parent.exists()
    (folder.exports / name).write_text("words", encoding="utf-8")
    Publication(folder, job, ticket).bring()
    assert files_in(target.parent) == {"it.safetensors": b"an adapter", "words": b"words"}


def test_names_of_exports_are_those_of_jobs_that_are_there_already():
    """Files of an earlier version's jobs are found again."""
    names = {
        kind: [stage.names for stage in exports_of(Job("a b", ALL[kind], "", "", {}))]
        for kind in ("customize", "customize, words", "customize, both", "vmc")
    }
    assert names == {
        "customize": [("a b appearance.safetensors",), ("a b.safetensors",)],
        "customize, words": [("a b appearance.safetensors",), ("a b.safetensors",)],
        "customize, both": [
            ("a b appearance.safetensors", "a b appearance words.safetensors"),
            ("a b.safetensors",),
        ],
        "vmc": [("a b.safetensors",)],
    }
