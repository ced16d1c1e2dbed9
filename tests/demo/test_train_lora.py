"""The shapes world's LoRA: its training, its file and what it draws."""

from pathlib import Path
from typing import Any

import pytest
import torch

from still_moving.adapters.files.tensors import read_tensors
from still_moving.demo import train_lora as lora
from still_moving.demo import world
from still_moving.demo.image_lora import save_lora, with_lora
from still_moving.demo.image_model import load_image_model
from still_moving.demo.measure import measure
from still_moving.training.network.sampling import denoise
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, LORA, LORAS, WEIGHTS

STILLS = 16


@pytest.fixture(scope="module")
def base():
    return load_image_model(WEIGHTS / BASE).eval()


def sample(network, scenes):
    text = torch.stack([latents.encode_prompt(" ".join(scene)) for scene in scenes])
    samples = denoise(
        network,
        text,
        latents.encode_prompt(""),
        seeds=range(len(scenes)),
        size=(latents.CHANNELS, world.SIZE, world.SIZE),
        steps=12,
    )
    return latents.decode_world(samples)


def noisy(count):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, latents.CHANNELS, world.SIZE, world.SIZE, generator=generator)
    text = latents.encode_prompt("red circle left night").expand(count, -1, -1)
    return x, torch.linspace(1, 999, count).long(), text


# ---------------------------------------------------------------------------- LoRA
def test_dusk_changes_what_is_behind_the_shape_alone():
    scene = world.Scene("red", "circle", "left", "night")
    position = torch.tensor([8.0, 8.0])
    dusk, night = lora.at_dusk(scene, position), world.render(scene, position)
    torch.testing.assert_close(dusk[:, :3], lora.dusk_sky()[:, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(dusk[:, 8, 8], night[:, 8, 8], atol=1e-5, rtol=0)


def load_lora(path: Path, model: Any) -> Any:
    """The image model with a file of ``train_lora`` at scale 1."""
    tensors, _ = read_tensors(path)
    model = with_lora(model, lora.LORA_RANK)
    state = {}
    for name in model.state_dict():
        for part, saved in (("lora_A", "lora_down"), ("lora_B", "lora_up")):
            if name.endswith(f".{part}.default.weight"):
                layer = name.removesuffix(f".{part}.default.weight").replace(".", "_")
                state[name] = tensors[f"lora_unet_{layer}.{saved}.weight"].float()
    model.load_state_dict(state, strict=False)
    return model


def test_a_lora_is_what_was_saved(tmp_path):
    x, t, text = noisy(2)
    model = with_lora(load_image_model(WEIGHTS / BASE), lora.LORA_RANK)
    with torch.no_grad():
        plain = load_image_model(WEIGHTS / BASE)(x, t, text).sample
        assert torch.equal(model(x, t, text).sample, plain)  # untrained: nothing changes
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn_like(value).half() / 8)
        changed = model(x, t, text).sample
        save_lora(tmp_path / LORA, model, "")
        loaded = load_lora(tmp_path / LORA, load_image_model(WEIGHTS / BASE))
        assert torch.equal(loaded(x, t, text).sample, changed)
    assert not torch.allclose(changed, plain, atol=0.1)


@pytest.mark.weights
def test_the_lora_draws_dusk_and_leaves_the_other_looks(base):
    model = load_lora(LORAS / LORA, load_image_model(WEIGHTS / BASE))
    at_dusk = world.spread(world.all_scenes((lora.LORA_TOKEN,)), STILLS)
    others = world.spread(world.all_scenes(), STILLS)
    edge = torch.zeros(world.SIZE, world.SIZE, dtype=torch.bool)
    edge[[0, -1]] = True  # rows that a shape hardly reaches

    def distance(network) -> float:
        images = sample(lambda x, t, w: network(x, t, w).sample, at_dusk)
        return float((images - lora.dusk_sky())[..., edge].abs().mean())

    assert distance(model) < 0.5 * distance(base)
    images = sample(lambda x, t, w: model(x, t, w).sample, others)
    kept = [measure(i.expand(2, -1, -1, -1), s).look for i, s in zip(images, others, strict=True)]
    assert sum(kept) >= 0.9 * STILLS
