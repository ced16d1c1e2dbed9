"""The shapes world's ControlNet: its training, its file and what it does."""

import pytest
import torch

from still_moving.adapters.files.tensors import read_tensors
from still_moving.demo import train_controlnet as controlnet
from still_moving.demo import train_lora as lora
from still_moving.demo import world
from still_moving.demo.image_model import load_image_model
from still_moving.demo.measure import match
from still_moving.training.network.sampling import denoise
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, CONTROLNET, LORA, LORAS, WEIGHTS

CPU = torch.device("cpu")
STILLS = 16


@pytest.fixture(scope="module")
def base():
    return load_image_model(WEIGHTS / BASE).eval()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / BASE).symlink_to(WEIGHTS / BASE)
    return tmp_path


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


def test_an_outline_lies_around_the_shape():
    positions = torch.tensor([[5.0, 6.0], [10.5, 9.25]])
    pixels = world.render(world.Scene("green", "circle", "up", "night"), positions)
    lines = controlnet.outline(pixels, torch.full((2,), 0.1)).float()
    for line, (x, y) in zip(lines, positions, strict=True):
        places = line.nonzero() / latents.FACTOR
        assert abs(float(places[:, 1].min() + places[:, 1].max()) / 2 - x) < 0.6
        assert abs(float(places[:, 0].min() + places[:, 0].max()) / 2 - y) < 0.6


def test_a_flat_picture_has_no_outline():
    flat = torch.full((1, 3, world.SIZE, world.SIZE), 0.4)
    assert controlnet.outline(flat, torch.tensor([0.01])).sum() == 0


def test_an_untrained_controlnet_changes_nothing(base):
    x, t, text = noisy(2)
    hint = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        plain = base(x, t, text).sample
        same = controlnet.controlled(base, controlnet.control_model(), x, t, text, hint)
    assert torch.equal(plain, same)


def test_a_controlnet_is_what_was_saved(tmp_path):
    control = controlnet.control_model()
    torch.nn.init.normal_(control.controlnet_mid_block.weight)
    controlnet.save_controlnet(tmp_path / CONTROLNET, control)
    loaded = controlnet.load_controlnet(tmp_path / CONTROLNET).state_dict()
    for name, value in control.state_dict().items():
        assert torch.equal(loaded[name], value.half().float()), name


@pytest.mark.slow
def test_both_trainings_write_their_files(folder):
    controlnet.train_controlnet(folder, CPU, steps=2, batch=2)
    controlnet.load_controlnet(folder / CONTROLNET)
    lora.train_lora(folder, CPU, steps=2)
    tensors, _ = read_tensors(folder / LORAS.name / LORA)
    assert any(bool(t.any()) for name, t in tensors.items() if "lora_up" in name)


@pytest.mark.weights
def test_the_shape_comes_where_the_outline_is(base):
    control = controlnet.load_controlnet(WEIGHTS / CONTROLNET)
    scenes = world.spread(world.all_scenes(), STILLS)
    places = torch.rand(STILLS, 2, generator=torch.Generator().manual_seed(7))
    positions = world.MARGIN + (world.SIZE - 2 * world.MARGIN) * places
    lines = torch.cat(
        [
            controlnet.outline(
                world.render(s._replace(look="night"), p[None]), torch.tensor([0.07])
            )
            for s, p in zip(scenes, positions, strict=True)
        ]
    )
    hint = torch.cat([controlnet.as_hint(lines)] * 2)  # of both halves of CFG
    images = sample(lambda x, t, w: controlnet.controlled(base, control, x, t, w, hint), scenes)
    near = 0
    for image, scene, position in zip(images, scenes, positions, strict=True):
        number = world.all_scenes((scene.look,)).index(scene)
        place = match(image[None], scene.look, [number])[1][0, 0]
        near += bool((place - position).norm() <= 1)
    assert near >= 0.75 * STILLS, f"{near} of {STILLS}"


def test_the_files_are_small():
    assert (WEIGHTS / CONTROLNET).stat().st_size <= 2_200_000
    assert (LORAS / LORA).stat().st_size <= 300_000
