"""Sets that a job draws: from a plan, by a process of its own, as the node itself draws them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.host import world
from helpers.small import motion_recipe, new_job, run, start, wait_for
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.sets.cached import CachedSet
from still_moving.nodes.sets.generate import GenerateImages, GeneratePriorClips
from still_moving.nodes.shared import places, writer
from still_moving.training.jobs.job import JobFolder
from still_moving.training.sets.plan import PLAN_FILE, read_plan
from still_moving.training.sets.store import SET_FILE
from still_moving.worlds.shapes.files import CUSTOMIZED, MOTION_MODULE, WEIGHTS

NODES = {"images": GenerateImages, "clips": GeneratePriorClips}


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    return tmp_path / "user"


def inputs(kind: str, **more: Any) -> dict[str, Any]:
    """Of a Generate node."""
    model = world.plain(CUSTOMIZED) if kind == "images" else world.moving()
    frames = {} if kind == "images" else {"frames": world.FRAMES}
    return {
        "model": model, "clip": load_clip(), "vae": ShapesVAE(), "token": "sks",
        "prompts": "red [class] left [V*]\nblue square up fog", "class_word": "circle", "count": 3,
        "negative": "yellow", "seed": 7, "steps": 3, "cfg": 2.0, "sampler_name": "dpmpp_2m_sde",
        "scheduler": "karras", "width": 128, "height": 128, **frames, **more,
    }  # fmt: skip  # many short values, several a line


def planned(kind: str, **more: Any) -> CachedSet:
    cached = NODES[kind].planned(**inputs(kind, **more))
    assert not cached.is_drawn
    return cached


def job_of(cached: CachedSet, folder: Path) -> JobFolder:
    """A job that trains on this set alone."""
    writer.finish()
    given = {"checkpoint": cached.files[0], "motion_module": WEIGHTS / MOTION_MODULE}
    return new_job(folder, motion_recipe(steps=2), {**given, "frames": cached.folder})


def drawing(folder: JobFolder) -> None:
    """The first process of a job, to its end."""
    done = run("train", "work", folder.path)
    assert not done.returncode, done.stderr + folder.log.read_text(encoding="utf-8")


@pytest.fixture
def one_thread(monkeypatch):
    """In both processes: sums of several threads differ in their last bit by how many there are."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.every_comfyui
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", NODES)
def test_a_job_draws_what_the_node_draws(kind, tmp_path):
    own = NODES[kind].gather(**inputs(kind))
    cached = planned(kind)
    folder = job_of(cached, tmp_path / "job")
    drawing(folder)
    assert folder.read_state().phase == "waiting"
    assert cached.is_drawn
    assert (cached.folder / SET_FILE).read_bytes() == (own.folder / SET_FILE).read_bytes()
    for one, other in zip(cached.loaded().items, own.loaded().items, strict=True):
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.text, other.text)


@pytest.mark.slow
def test_a_kill_costs_at_most_the_item_that_was_drawn(tmp_path):
    cached = planned("clips", count=4, steps=8)
    plan, _ = read_plan(cached.folder)
    folder = job_of(cached, tmp_path / "job")
    child = start("train", "work", folder.path)
    wait_for(lambda: plan.drawn() >= 2, child, "two clips")
    child.kill()
    child.wait()
    there = [plan.file(i) for i in range(4) if plan.file(i).is_file()]
    before = {file: file.stat().st_mtime_ns for file in there}
    told = [event["file"] for event in folder.read_events() if event["event"] == "drawn"]
    assert len(told) >= len(there) - 1
    assert not cached.is_drawn
    drawing(folder)
    assert cached.is_drawn
    assert {file: file.stat().st_mtime_ns for file in there} == before
    assert len(before) < 4 == len(cached.loaded().items)


@pytest.mark.slow
def test_drawing_waits_and_ends_as_a_training_does(tmp_path):
    folder = job_of(planned("clips", steps=60), tmp_path / "job")
    child = start("train", "work", folder.path)

    def reach(phase: str) -> None:
        wait_for(lambda: folder.read_state().phase == phase, child, phase)

    reach("running")
    for sharing in ("keep", "yield"):
        folder.share(sharing)
        reach("yielding")
        folder.share("run")
        reach("running")
    folder.send("pause")
    reach("paused")
    state = folder.read_state()
    assert (state.drawing, state.steps) == (True, 3)
    folder.send("stop")
    assert child.wait(60) == 0
    assert folder.read_state().phase == "stopped"
    folder.send("pause")  # one that waits for long leaves, to be begun again
    done = run("train", "work", folder.path, "--patience", 0)
    assert (done.returncode, folder.read_state().phase) == (0, "waiting")


def spoilt(cached: CachedSet, **changes: Any) -> None:
    """Change what a plan says."""
    path = cached.folder / PLAN_FILE
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": 99}, r"^clip 1 of 3 \('red circle left sks'\): found a clip of 99 frames"),
        ({"width": 4}, r"^clip 1 of 3 \('red circle left sks'\): found RuntimeError: "),
        ({"scheduler": "gone"}, r"KSampler: found nothing called gone"),
        ({"model": "no such.safetensors"}, r"no such.safetensors: found"),
        ({"host": {"folder": "/nowhere", "options": "{}"}}, r"found no ComfyUI, .* press Train"),
    ],
    ids=["too long", "too small", "a schedule", "the weights", "ComfyUI"],
)
def test_what_goes_wrong_is_said_with_the_item(changes, said, tmp_path):
    cached = planned("clips")
    folder = job_of(cached, tmp_path / "job")
    spoilt(cached, **changes)
    assert run("train", "work", folder.path).returncode == 2
    state = folder.read_state()
    assert state.phase == "failed"
    assert re.search(said, state.message), state.message


def test_a_plan_is_data_and_the_same_for_the_same_graph():
    one, other = planned("images"), planned("images")
    assert one.folder == other.folder != planned("images", seed=8).folder
    assert one.pictures is not None
    assert list(one.pictures.iterdir()) == []  # nothing is drawn at the press
    assert {file.suffix for file in one.folder.iterdir()} == {".json", ".safetensors"}
    assert {file.suffix for file in one.files} == {".safetensors"}
    assert all(path.parent.parent == places.root() for path in one.uses)
    assert set(one.uses) == {one.folder, one.pictures, *one.files}


def test_what_drawing_would_refuse_is_said_at_the_press():
    with pytest.raises(UserError, match=r"a clip of 99 frames, .* the limit of this motion module"):
        planned("clips", frames=99)
    with pytest.raises(UserError, match="prompts, the one with number 2: found 20 words"):
        planned("images", prompts="red circle left sks\n" + "too " * 20)
    with pytest.raises(UserError, match="width: found 100"):
        planned("images", width=100)


def test_a_plan_tells_a_trainer_what_the_set_will_be():
    expected, own = planned("clips").loaded(), GeneratePriorClips.gather(**inputs("clips")).loaded()
    assert (expected.kind, expected.encoder) == (own.kind, own.encoder)
    for one, other in zip(expected.items, own.items, strict=True):
        assert (one.caption, one.source) == (other.caption, other.source)
        assert one.latents.shape == other.latents.shape
        assert torch.equal(one.text, other.text)


@pytest.mark.slow
def test_the_command_line_goes_on_with_a_job_that_draws(tmp_path):
    cached = planned("clips")
    folder = job_of(cached, tmp_path / "job")
    done = run("train", "resume", folder.path)
    assert done.returncode == 0, done.stderr
    assert "drawing its sets first" in done.stderr
    assert (folder.read_state().phase, folder.read_state().step) == ("finished", 2)
    assert cached.is_drawn
    alone = planned("clips", seed=9)
    folder = job_of(alone, tmp_path / "other")
    spoilt(alone, model="no such.safetensors")
    assert "no such.safetensors: found" in run("train", "resume", folder.path).stderr
