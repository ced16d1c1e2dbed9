"""The emoji world's training from end to end, on three drawings and with two steps a stage."""

import pytest
import torch

from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.image_lora import merge_image_lora
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.demo.emoji import train
from still_moving.demo.emoji.customize import customized_name, customized_scenes
from still_moving.demo.emoji.subjects import BACKGROUNDS, HELD_OUT, NEW_LOOKS, SUBJECTS, TOKENS
from still_moving.worlds.emoji.files import BASE, MOTION_ADAPTER, MOTION_MODULE, VAE


@pytest.mark.slow
def test_every_file_is_one_that_the_packs_readers_know(drafts):
    names = {VAE, BASE, MOTION_MODULE, MOTION_ADAPTER, *map(customized_name, TOKENS)}
    assert {path.name for path in drafts.glob("*.*")} == names
    base = read_unet(drafts / BASE)
    motion = read_motion_module(drafts / MOTION_MODULE)
    assert (base.base, motion.info.version) == ("emoji", "emoji")
    assert load_adapter(drafts / MOTION_ADAPTER, kind="motion").info.base == "emoji"
    for name in TOKENS:
        changed = merge_image_lora(base, drafts / customized_name(name)).tensors
        different = [k for k, v in base.tensors.items() if not torch.equal(v, changed[k])]
        assert any("attn2.to_k" in key for key in different)
        assert any("in_layers.2" in key for key in different)  # a convolution


@pytest.mark.slow
def test_what_was_made_with_another_vae_is_not_taken_up(drafts, folder, tiny):
    training = train.Training(drafts, folder / "emoji", torch.device("cpu"), tiny)
    before = training.kept(VAE)
    assert (before / "stills_1.safetensors").is_file()
    kept = (drafts / VAE).read_bytes()
    (drafts / VAE).write_bytes(kept[:-1] + b"!")
    assert training.kept(VAE) != before
    assert training.kept(VAE, BASE) not in (before, training.kept(VAE))
    (drafts / VAE).write_bytes(kept)
    assert training.kept(VAE) == before


def test_a_customization_is_taught_by_few_stills_and_a_look_not_by_all_subjects():
    for name in NEW_LOOKS:
        scenes = customized_scenes(name)
        assert 10 <= len(scenes) <= 20
        assert {scene.look for scene in scenes} == {name}
        assert len({scene.subject for scene in scenes}) == len(scenes) < len(SUBJECTS) / 4
        assert all(TOKENS[name] in scene.prompt for scene in scenes)
    for name in HELD_OUT:
        scenes = customized_scenes(name)
        assert 4 <= len(scenes) <= 6
        assert {scene.subject for scene in scenes} == {name}
        assert {scene.background for scene in scenes} <= set(BACKGROUNDS)
        assert all(scene.prompt.startswith(TOKENS[name]) for scene in scenes)
