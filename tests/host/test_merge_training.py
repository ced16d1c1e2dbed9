"""Training on a merged motion module: what samples, as a file that goes with the job."""

import json
from pathlib import Path

import pytest
import torch

from helpers.host import world
from helpers.host.training_graph import clips_graph, ended, motion_graph, node, pressed
from helpers.small import motion_recipe, new_job, run
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.host.motion_merge import merge_motion_modules
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.sets.generate import GeneratePriorClips
from still_moving.nodes.shared import baking, places, writer
from still_moving.nodes.shared.merged import motion_file
from still_moving.training.sets.store import SET_FILE


@pytest.fixture
def half(tmp_path, monkeypatch):
    """Two motion modules, half and half."""
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    tuned = world.write_tuned_module(tmp_path / "tuned.safetensors", 1)
    return merge_motion_modules(tuned, world.motion_module(), 0.5)


def test_the_file_is_what_samples_and_is_written_once(half):
    file = motion_file(half.parts)
    writer.finish()
    assert file.path.parent == places.weights()
    assert file.made == (file.path,)
    assert "merged motion module on disk" in file.notes[0]
    read, patcher = read_motion_module(file.path), half.patcher(torch.float32, torch.device("cpu"))
    for name, weight in patcher.model.state_dict().items():
        assert torch.equal(read.tensors[name], weight)
    assert (read.hash, read.name, read.info) == (half.hash, half.name, half.info)
    assert read.hash == patcher.model.file_hash
    before = file.path.stat().st_mtime_ns
    assert motion_file(half.parts) == file  # with the same note, which tells the size
    again = merge_motion_modules(world.motion_module(), load_motion_module(half.parts[0].path), 0.5)
    assert motion_file(again.parts).path == file.path
    assert file.path.stat().st_mtime_ns == before


def test_one_that_is_not_merged_is_its_own_file(half):
    own = world.motion_module()
    assert motion_file(own.parts) == (Path(own.parts[0].path).resolve(), (), ())
    assert not places.weights().exists()


def test_without_room_for_it_nothing_is_written(half, monkeypatch):
    monkeypatch.setattr(baking, "MARGIN", 2**60)
    with pytest.raises(UserError, match="GiB for the merged motion module"):
        motion_file(half.parts)
    assert list(places.weights().iterdir()) == []


@pytest.mark.slow
@pytest.mark.every_comfyui
@pytest.mark.usefixtures("one_thread")
def test_a_job_draws_with_it_what_the_node_draws(half, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # in both processes: sums differ by how many
    inputs = {
        "model": apply_motion_module(world.plain(), half), "clip": load_clip(), "vae": ShapesVAE(),
        "prompts": "red circle left night", "token": "", "class_word": "", "count": 1, "seed": 7,
        "negative": "", "steps": 3, "cfg": 2.0, "sampler_name": "dpmpp_2m_sde", "width": 128,
        "height": 128, "scheduler": "karras", "frames": world.FRAMES,
    }  # fmt: skip  # many short values, several a line
    own, cached = GeneratePriorClips.gather(**inputs), GeneratePriorClips.planned(**inputs)
    file = motion_file(half.parts).path
    assert file in cached.uses
    writer.finish()
    given = {"checkpoint": cached.files[0], "motion_module": file, "frames": cached.folder}
    folder = new_job(tmp_path / "job", motion_recipe(steps=1), given)
    done = run("train", "work", folder.path)
    assert not done.returncode, done.stderr + folder.log.read_text(encoding="utf-8")
    assert (cached.folder / SET_FILE).read_bytes() == (own.folder / SET_FILE).read_bytes()
    assert torch.equal(cached.loaded().items[0].latents, own.loaded().items[0].latents)


def on_merged(prompt: dict) -> dict:
    """The same graph with a merged motion module, for drawing clips and for training on them."""
    prompt["tuned"] = node("LoadMotionModule", file="tuned.safetensors")
    prompt["merged"] = node(
        "MergeMotionModules", motion_module_1=["tuned", 0], motion_module_2=["module", 0], ratio=0.5
    )
    for key in ("moving", "train"):
        prompt[key]["inputs"]["motion_module"] = ["merged", 0]
    return prompt


def begun(server, prompt: dict, press: str) -> tuple[str, Path, list[str]]:
    """Press Train on it: the job's id, the motion module that it trains on, what the node says."""
    shown = server.run(pressed(on_merged(prompt), press, press))["train"]
    (id,) = shown["still_moving_job"]
    job = server.base / "user" / "still_moving" / "jobs" / id / "job.json"
    said = json.loads(job.read_text(encoding="utf-8"))
    return id, Path(said["motion_module"]), shown["still_moving_notes"]


def test_a_press_trains_on_it_and_says_so_in_the_adapter(server):
    folder = server.base / "models" / "animatediff_models"
    folder.mkdir(parents=True, exist_ok=True)
    tuned = world.write_tuned_module(folder / "tuned.safetensors", 1)
    half = merge_motion_modules(tuned, world.motion_module(), 0.5)
    id, file, notes = begun(server, motion_graph(1, "merged", 1), "merged")
    assert any("merged motion module on disk" in note for note in notes)
    assert file.parent == server.base / "user" / "still_moving" / "weights"
    job = ended(server, id)
    assert job["phase"] == "finished", job["message"]
    adapter = server.base / "models" / "animatediff_motion_lora" / job["adapter"]
    assert read_motion_module(file).hash == half.hash
    info = load_adapter(adapter, kind="motion").info
    both = "0.5 tuned.safetensors + 0.5 shapes_motion_module.safetensors"
    assert (info.motion_module, info.motion_module_name) == (half.hash, both)
    # Another trainer takes the same file, which goes with the last of the two.
    other, same, _ = begun(server, clips_graph("VMC"), "another")
    assert same == file
    server.delete(f"/still_moving/jobs/{id}")
    server.wait_until(lambda: not (file.parents[1] / "jobs" / id).exists())
    assert file.exists()
    server.delete(f"/still_moving/jobs/{other}")
    server.wait_until(lambda: not file.exists())
