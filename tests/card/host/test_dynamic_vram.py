"""ComfyUI with DynamicVRAM on a card: it samples what it samples on the CPU."""

import comfy.memory_management
import comfy.model_management
import comfy.model_patcher
import pytest
import torch

from helpers import card
from helpers.host import world
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import motion_patcher

CLOSE = 1e-4  # in fp32
ROUNDED = 5e-4  # ComfyUI adds a merged adapter up in fp16 on a card, in fp32 on the CPU


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    """As ComfyUI executes a graph."""
    with torch.inference_mode():
        yield


def test_dynamic_vram_is_on_and_the_pack_uses_it():
    assert comfy.memory_management.aimdo_enabled
    model = world.moving()
    assert type(model) is comfy.model_patcher.ModelPatcherDynamic
    assert type(motion_patcher(model)) is comfy.model_patcher.ModelPatcherDynamic
    assert model.load_device == comfy.model_management.get_torch_device() == torch.device("cuda", 0)


ADAPTED = 4  # of what is sampled


def sampled() -> list[torch.Tensor]:
    """Plain and moving models, clones of one, in turns; then one with an adapter."""
    plain = world.plain()
    moving = world.moving(plain)
    adapted, _ = apply_motion_adapter(moving, world.motion_adapter(), 0.5, "a")
    turns = (plain, moving, plain, moving, adapted, moving)
    return [world.sample(model).float() for model in turns]


def test_it_samples_what_the_cpu_samples(on_cpu, note_difference):
    with on_cpu():
        expected = sampled()
    with card.watch() as seen:
        found = sampled()
    assert seen.counted["h2d"] > 0
    for i, (there, here) in enumerate(zip(expected, found, strict=True)):
        assert here.device.type == "cpu"
        difference = world.difference(here, there)
        note_difference("latents under DynamicVRAM, torch.float32", difference)
        assert difference <= (ROUNDED if i == ADAPTED else CLOSE)
    assert torch.equal(found[1], found[3])
    assert torch.equal(found[1], found[5])
