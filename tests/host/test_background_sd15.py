"""A set that a job draws with SD1.5's own size and a LoRA, random weights: as the node draws it."""

import comfy.sd
import pytest
import torch

from helpers.real_size import write_motion_module, write_sd15
from helpers.small import motion_recipe, new_job, run
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.nodes.sets.generate import GeneratePriorClips
from still_moving.nodes.shared import places, writer

pytestmark = [pytest.mark.big, pytest.mark.every_comfyui]
LORA = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture
def inputs(tmp_path):
    """Of Generate Prior Clips."""
    write_sd15(tmp_path / "sd15.safetensors", seed=1)
    write_motion_module(tmp_path / "mm_v3.safetensors", "v3", seed=2)
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(tmp_path / "sd15.safetensors"))
    moving = apply_motion_module(model, load_motion_module(tmp_path / "mm_v3.safetensors"))
    moving.add_patches({LORA: (torch.randn(320, 320) / 50,)}, 1.0)
    yield {
        "model": moving, "clip": clip, "vae": vae, "token": "", "class_word": "", "count": 2,
        "prompts": "a dog\n" + "a very " * 40 + "long prompt", "negative": "bad", "seed": 3,
        "steps": 2, "cfg": 5.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "frames": 2,
        "width": 64, "height": 64,
    }  # fmt: skip  # many short values, several a line
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()  # gigabytes


def test_a_job_draws_what_the_node_draws(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    own, cached = GeneratePriorClips.gather(**inputs), GeneratePriorClips.planned(**inputs)
    writer.finish()
    assert not cached.is_drawn
    given = {"checkpoint": cached.files[0], "motion_module": tmp_path / "mm_v3.safetensors"}
    folder = new_job(tmp_path / "job", motion_recipe(), {**given, "frames": cached.folder})
    done = run("train", "work", folder.path, timeout=1500)
    assert not done.returncode, done.stderr + folder.log.read_text(encoding="utf-8")
    for one, other in zip(cached.loaded().items, own.loaded().items, strict=True):
        assert (one.id, one.caption) == (other.id, other.caption)
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.text, other.text)
