"""New jobs have names that every system takes; old ones are read whatever they are called."""

import dataclasses
import json

import pytest

from helpers.small import motion_recipe
from still_moving.common.errors import UserError
from still_moving.common.system import WINDOWS
from still_moving.training.jobs.exports import check_new
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.recipes.recipe import Recipe


def job(name: str, *stages: str) -> Job:
    recipe = motion_recipe()
    (only,) = recipe.stages
    several = tuple(dataclasses.replace(only, name=stage) for stage in stages or ("motion",))
    recipe = dataclasses.replace(recipe, stages=several)
    return Job(name, recipe, "/a/base", "/a/mm", {"frames": "/a/set"})


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (job("con"), "Windows keeps"),
        (job("nul.v2"), "Windows keeps"),
        (job("dog", "aux", "motion"), "stage name"),
        (job("dog", "Look", "look", "motion"), "'dog Look.safetensors'"),
        (job("dog", "look", "look", "motion"), "stages"),
        (job("dog", "é", "e\u0301", "motion"), "stages"),
        (job("dog", "x" * 60, "y" * 60), None),
        (job("d" * 30, "x" * 60, "y"), "at most 90"),
    ],
)
def test_a_new_job_s_files_can_be_made_everywhere(made, named):
    if named is None:
        assert check_new(made) is made
        return
    with pytest.raises(UserError, match=named):
        check_new(made)


@pytest.mark.parametrize("name", ["con", "nul.v2", "x" * 80])
def test_old_jobs_are_read(tmp_path, name):
    old = job(name, "Look", "look", "aux")
    folder = tmp_path / ("old" if WINDOWS else "aux")
    folder.mkdir()
    (folder / "job.json").write_text(old.to_json(), encoding="utf-8")
    assert JobFolder(folder).load() == old
    assert Recipe.from_json(json.dumps(json.loads(old.to_json())["recipe"])) == old.recipe


@pytest.mark.parametrize("folder", ["con", "what?", "nul.job", "dog."])
def test_a_new_folder_has_such_a_name_too(tmp_path, folder):
    with pytest.raises(UserError, match="every system takes"):
        JobFolder.create(tmp_path / folder, job("dog"))
    assert list(tmp_path.iterdir()) == []
