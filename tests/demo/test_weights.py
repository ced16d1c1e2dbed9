"""The shipped weights: small, whole, and good at their world."""

import pytest
import torch

from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.demo import world
from still_moving.demo.evaluate import Network, sample_stills
from still_moving.demo.measure import measure
from still_moving.worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS

PAIRS = 64


def test_the_weights_are_small_and_whole():
    files = [WEIGHTS / name for name in (BASE, MOTION_MODULE, CUSTOMIZED)]
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.*")) <= 13_500_000
    assert read_unet(files[0]).base == read_unet(files[2]).base == "shapes"
    assert read_motion_module(files[1]).info.version == "shapes"


def test_channels_fit_comfyuis_group_norm():
    for name in (BASE, CUSTOMIZED):
        tensors = read_unet(WEIGHTS / name).tensors
        norms = [t for n, t in tensors.items() if n.endswith(("in_layers.0.weight", "norm.weight"))]
        assert norms
        assert all(len(norm) % 32 == 0 for norm in norms)


weights = pytest.mark.weights


@pytest.fixture(scope="module")
def clips():
    scenes = world.spread(world.all_scenes(), PAIRS)
    network = Network(WEIGHTS / BASE, torch.device("cpu"))
    return network.clips(scenes, range(PAIRS))


@weights
def test_the_base_shows_the_asked_shape_colour_and_direction(clips):
    right = sum(m.correct for m in clips.measures)
    assert right >= 0.95 * PAIRS, f"{right} of {PAIRS}"


@weights
def test_the_base_moves_at_natural_speeds(clips):
    low, high = world.SPEED
    assert low < clips.mean(lambda m: m.motion) < high


@weights
def test_the_customized_checkpoint_draws_its_style_and_the_base_does_not():
    scenes = world.spread(world.all_scenes((world.STYLE_TOKEN,)), 16)
    looks = {}
    for name in (BASE, CUSTOMIZED):
        images = sample_stills(WEIGHTS / name, scenes, 0, torch.device("cpu"))
        measures = [
            measure(i.expand(2, -1, -1, -1), s) for i, s in zip(images, scenes, strict=True)
        ]
        looks[name] = sum(m.look for m in measures)
    assert looks[CUSTOMIZED] >= 15
    assert looks[BASE] == 0
