"""What the worker does with a network besides training it, on a card against the CPU."""

import pytest
import torch

from helpers import small
from helpers.small import motion_recipe, new_training, spatial_recipe
from still_moving.training.network import inversion
from still_moving.training.worker.preview import sample_clips

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


@precisions
@pytest.mark.parametrize(
    "recipe",
    [motion_recipe(), spatial_recipe(), spatial_recipe(sites="all")],
    ids=["motion", "layers", "all"],
)
def test_a_preview_is_the_cpus(recipe, dtype, note_difference):
    clips = [
        sample_clips(new_training(recipe, dtype, device), lambda: True) for device in (CPU, CUDA)
    ]
    difference = float((clips[1] - clips[0]).norm() / clips[0].norm())
    note_difference(f"preview, {dtype}", difference)
    assert clips[1].device == CPU
    assert difference <= CLOSE[dtype]


@precisions
def test_an_inversion_is_the_cpus_and_comes_back(dtype, note_difference):
    item = small.training_set("clips").items[0]
    clip = item.latents.transpose(0, 1)[None]
    starts, errors = [], []
    for device in (CPU, CUDA):
        network = inversion.network_of(small.new_unet(dtype, device), item.text)
        starts.append(inversion.invert(network, clip, steps=4, refine=1))
        errors.append(inversion.round_trip_error(network, clip, starts[-1], steps=4))
    difference = float((starts[1] - starts[0]).norm() / starts[0].norm())
    note_difference(f"inversion, {dtype}", difference)
    assert starts[1].device == CPU
    assert difference <= CLOSE[dtype]
    assert errors[1] == pytest.approx(errors[0], rel=CLOSE[dtype])
