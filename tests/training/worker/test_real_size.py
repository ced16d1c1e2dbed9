"""From photos and clips to adapters on files of SD1.5's real size, by the command line alone."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from helpers.checkout import comfyui
from helpers.real_size import motion_shapes, sd15_shapes, write_motion_module, write_sd15
from helpers.small import run
from still_moving.adapters.files import keys
from still_moving.adapters.files.adapter import AdapterKind, load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.image_lora import merge_image_lora
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.motion_weights import apply_motion_weights, load_motion_weights
from still_moving.training.jobs.job import JobFolder
from still_moving.training.network.unet import build_unet
from still_moving.training.recipes import methods, recipe

pytestmark = pytest.mark.big
FRAMES, STEPS = 4, 2  # a quarter of the usual frames, for the minutes of a small machine
SHORT = {"steps": STEPS, "frames": FRAMES, "held_out": 1, "dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds 3 GB of random weights while the tests of this file run."""
    path = tmp_path_factory.mktemp("real")
    write_sd15(path / "sd15.safetensors", seed=0)
    write_motion_module(path / "v2.safetensors", "v2", seed=1)
    yield path
    shutil.rmtree(path)


def finished(*arguments: object) -> str:
    done = run(*arguments, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def numbers(path: Path, chosen: recipe.Recipe) -> Path:
    path.write_text(chosen.to_json(), encoding="utf-8")
    return path


def test_every_key_of_both_files_has_its_place(folder):
    weights = read_unet(folder / "sd15.safetensors")
    module = read_motion_module(folder / "v2.safetensors")
    assert set(weights.tensors) == set(sd15_shapes())
    assert len(weights.tensors) == 686
    assert set(module.tensors) == set(motion_shapes("v2"))
    assert len(module.tensors) == 588
    placed = {weights.layout.to_diffusers(name) for name in weights.tensors}
    positions = {name for name in module.tensors if name.endswith("pos_encoder.pe")}
    placed |= {keys.motion_to_diffusers(name) for name in set(module.tensors) - positions}
    assert len(placed) == 686 + 588 - len(positions)
    state = build_unet(weights, module, torch.float16, torch.device("meta")).state_dict()
    own_positions = {name for name in state if name.endswith("pos_embed.pe")}
    assert placed | own_positions == set(state)
    pairs = {keys.animatediff_positions(name) for name in own_positions}
    assert {name for pair in pairs for name in pair} == positions


def test_photos_and_clips_become_adapters(folder, shared_data):
    host = comfyui()
    checkpoint, module = folder / "sd15.safetensors", folder / "v2.safetensors"
    for source, out, prompt in (("photos/dog", "photos", "sks dog"), ("clips", "clips", "a clip")):
        size = ("--width", 64, "--height", 64, "--frames", FRAMES)
        coder = ("--checkpoint", checkpoint, "--comfyui", host, "--prompt", prompt)
        finished("cache", shared_data / source, folder / out, *coder, *size)
    files = ("--checkpoint", checkpoint, "--motion-module", module, "--device", "cpu")

    still = numbers(folder / "motion.json", recipe.motion_adapter(**SHORT))
    finished(
        *("train", "motion", folder / "still", "--frames-set", folder / "clips"),
        *("--recipe", still, *files),
    )
    motion = folder / "still" / "export" / "still.safetensors"
    look = numbers(folder / "spatial.json", recipe.spatial_adapter(**SHORT))
    finished(
        *("train", "spatial", folder / "look", "--customized", folder / "photos"),
        *("--natural", folder / "clips", "--motion-adapter", motion, "--recipe", look, *files),
    )
    jobs: tuple[tuple[str, AdapterKind, int, int], ...] = (
        ("still", "motion", 4, 126),
        ("look", "spatial", 64, 107),
    )
    for name, kind, rank, layers in jobs:
        check_job(JobFolder(folder / name))
        file = folder / name / "export" / f"{name}.safetensors"
        adapter = load_adapter(file, kind)
        assert (adapter.info.rank, adapter.info.base, adapter.info.steps) == (rank, "sd15", STEPS)
        assert len(adapter.pairs) == layers
        assert all(pair.up.abs().max() > 0 for pair in adapter.pairs.values())
        facts = json.loads(finished("inspect", "--json", file))
        assert facts["layers"] == layers


def check_job(job: JobFolder, stages: int = 1) -> None:
    assert job.phase() == "finished"
    events = list(job.read_events())
    losses = [event["loss"] for event in events if event["event"] in ("step", "held_out")]
    assert len(losses) == stages * (STEPS + 2)
    assert all(0 < loss < 100 for loss in losses)
    assert "skipped" not in {event["event"] for event in events}


WISHES = {
    "customize": methods.customize_a_video(
        absorber="both",
        words=("red", "dog"),
        appearance="a red dog on grass",
        appearance_steps=STEPS,
        **SHORT,
    ),
    "vmc": methods.vmc(prompt="a dog is running", **SHORT),
    "newmove": methods.newmove(motion_word="pll", **SHORT),
}
SETS = {
    "customize": ("--clip", "one"),
    "vmc": ("--clip", "one"),
    "newmove": ("--clips", "several", "--token", "pll", "--regularization", "others"),
}


def test_clips_become_motions(folder, shared_data):
    """All three methods on real clips: words are read by CLIP, here as ComfyUI reads them."""
    host, clips = comfyui(), sorted((shared_data / "clips").glob("*.gif"))
    checkpoint, module = folder / "sd15.safetensors", folder / "v2.safetensors"
    for name, some, prompt in (
        ("one", clips[:1], "a red dog is running on grass"),
        ("several", clips[1:3], "a person doing the pll"),
        ("others", clips[3:5], "a person is walking"),
    ):
        (folder / f"{name} files").mkdir()
        for clip in some:
            shutil.copy(clip, folder / f"{name} files")
        coder = ("--checkpoint", checkpoint, "--comfyui", host, "--prompt", prompt)
        size = ("--width", 64, "--height", 64, "--frames", FRAMES)
        finished("cache", folder / f"{name} files", folder / name, *coder, *size)
    for name, chosen in WISHES.items():
        sets = [
            folder / word if word in ("one", "several", "others") else word for word in SETS[name]
        ]
        wish = numbers(folder / f"{name}.json", chosen)
        files = ("--checkpoint", checkpoint, "--motion-module", module, "--device", "cpu")
        finished(
            *("train", chosen.name, folder / name, *sets, "--recipe", wish),
            *("--comfyui", host, *files),
        )
        job = JobFolder(folder / name)
        check_job(job, stages=len(chosen.stages))
        file = job.exports / f"{name}.safetensors"
        facts = json.loads(finished("inspect", "--json", file))
        if name == "customize":
            adapter = load_adapter(file, "motion")
            assert facts["layers"] == 126
            assert all(pair.up.abs().max() > 0 for pair in adapter.pairs.values())
            look = job.exports / "customize appearance.safetensors"
            merged = merge_image_lora(read_unet(checkpoint), look)
            assert len(merged.tensors) == 686
            words = load_embedding(look.with_stem("customize appearance words"))
            assert words.rows.shape == (2, 768)
        else:
            learned = load_motion_weights(file)
            assert learned.info.sites == chosen.stages[0].train
            assert facts["tensors"] == {"vmc": 126, "newmove": 588 - 42 + 32}[name]
            moved = apply_motion_weights(read_motion_module(module).tensors, learned, 0.5)
            assert len(moved) == 588
        shutil.rmtree(job.checkpoints)  # NewMove's are 6 GB
