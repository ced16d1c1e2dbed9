"""A curve of trainings: each length goes on from the one before, as if it had been one run."""

import pytest

from helpers import reference_clips
from helpers.small import differences, new_job, spatial_recipe, write_files
from still_moving.adapters.files.tensors import read_tensors
from still_moving.benchmarks.common import curve as curves
from still_moving.benchmarks.common.curve import curve, of_length
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = (2, 3, 6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {**write_files(folder), **reference_clips.write_sets(folder)}


def job_of(tmp_path, recipe, files) -> Job:
    return new_job(tmp_path / "as asked", recipe, files).load()


def spatial_job(tmp_path, files) -> Job:
    return job_of(
        tmp_path, spatial_recipe(steps=99, save_every=2, held_out_every=2, ema=0.5), files
    )


def in_one_run(folder, job: Job, steps: int):
    alone = JobFolder.create(folder, Job(**{**vars(job), "recipe": of_length(job.recipe, steps)}))
    assert run_job(alone) == FINISHED
    return read_tensors(alone.exports / f"{job.name}.safetensors")[0]


def test_each_length_is_what_one_run_of_it_gives(tmp_path, files):
    job = spatial_job(tmp_path, files)
    points = list(curve(tmp_path / "curve", job, LENGTHS))
    assert [p.steps for p in points] == list(LENGTHS)
    for point in points:
        alone = in_one_run(tmp_path / f"alone {point.steps}", job, point.steps)
        assert differences(read_tensors(point.result)[0], alone) == []
    assert all(p.held_out is not None for p in points)  # at every second step, and at the end
    first, *_, last = (read_tensors(p.result)[0] for p in points)
    assert differences(first, last) != []


def test_what_is_there_is_not_trained_again(tmp_path, files):
    job = spatial_job(tmp_path, files)
    before = [p.result.stat().st_mtime_ns for p in curve(tmp_path / "curve", job, LENGTHS[:2])]
    *points, longest = curve(tmp_path / "curve", job, LENGTHS)
    assert [p.result.stat().st_mtime_ns for p in points] == before
    alone = in_one_run(tmp_path / "alone", job, LENGTHS[-1])
    assert differences(read_tensors(longest.result)[0], alone) == []


@pytest.mark.parametrize("at", [0, 4])  # before its first step; between two checkpoints
def test_a_length_that_was_cut_short_goes_on(tmp_path, files, monkeypatch, at):
    job, lengths = spatial_job(tmp_path, files), (LENGTHS[0], LENGTHS[-1])
    place = tmp_path / "curve"
    list(curve(place, job, lengths[:1]))
    (place / f"{lengths[-1]}.part").mkdir()  # killed while it was copied

    def killed(event: dict) -> None:
        if event.get("step", 0) >= at:
            raise KeyboardInterrupt

    monkeypatch.setattr(curves, "run_job", lambda folder: run_job(folder, killed))
    with pytest.raises(KeyboardInterrupt):
        list(curve(place, job, lengths))
    monkeypatch.undo()
    *_, last = curve(place, job, lengths)
    alone = in_one_run(tmp_path / "alone", job, lengths[-1])
    assert differences(read_tensors(last.result)[0], alone) == []


def test_a_job_that_does_not_finish_is_told(tmp_path, files):
    job = spatial_job(tmp_path, files)
    job = Job(**{**vars(job), "motion_module": str(files["checkpoint"])})
    with pytest.raises(UserError, match=r"checkpoint|motion module"):
        list(curve(tmp_path / "curve", job, LENGTHS))


def test_the_stages_before_the_last_are_trained_once(tmp_path, files):
    recipe = reference_clips.customize(
        absorber="both", words=reference_clips.WORDS, appearance_steps=2, steps=99
    )
    job = job_of(tmp_path, recipe, files)
    *_, last = curve(tmp_path / "curve", job, LENGTHS)
    alone = in_one_run(tmp_path / "alone", job, LENGTHS[-1])
    assert differences(read_tensors(last.result)[0], alone) == []
    events = JobFolder(tmp_path / "curve" / str(LENGTHS[-1])).read_events()
    steps = [(e["stage"], e["step"]) for e in events if e["event"] == "step"]
    assert steps == [(0, 1), (0, 2), *((1, n + 1) for n in range(LENGTHS[-1]))]
