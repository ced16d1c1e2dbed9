"""What a stage trains: fp32 copies, under the names that files have."""

import pytest
import torch

from helpers.small import (
    motion_module,
    motion_recipe,
    new_unet,
    randomize,
    spatial_recipe,
    weights,
)
from still_moving.training.stage.trainable import Trainable


@pytest.mark.parametrize("sites", ["layers", "blocks", "all"])
def test_what_is_trained_is_fp32_in_a_half_precision_network(sites):
    unet = new_unet(torch.bfloat16)
    stage = spatial_recipe(sites=sites, motion_adapter=False).stages[0]
    trainable = Trainable(unet, stage, weights().layout, seed=0)
    assert {p.dtype for p in trainable.parameters.values()} == {torch.float32}
    assert all(p.requires_grad for p in trainable.parameters.values())


def test_training_leaves_the_weights_that_were_read_alone():
    unet = new_unet()
    stage = spatial_recipe(sites="all", motion_adapter=False).stages[0]
    before = {name: tensor.clone() for name, tensor in weights().tensors.items()}
    trainable = Trainable(unet, stage, weights().layout, seed=0)
    assert len(trainable.parameters) == len(before)
    randomize(trainable.parameters.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights().tensors.items())


def test_names_in_files_are_those_of_the_files():
    for recipe, total in ((motion_recipe(), 42), (spatial_recipe(motion_adapter=False), 43)):
        stage = recipe.stages[0]
        trainable = Trainable(new_unet(), stage, weights().layout, seed=0)
        pairs = trainable.low_rank({n: p.detach() for n, p in trainable.parameters.items()})
        assert len(pairs) == total
        files = motion_module() if stage.site.temporal else weights()
        assert all(f"{layer}.weight" in files.tensors for layer in pairs)
