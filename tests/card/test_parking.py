"""What a training that has parked leaves on the card: nothing."""

import gc

import pytest
import torch

from helpers import small

RECIPES = {
    "motion": small.motion_recipe(ema=0.9),
    "layers": small.spatial_recipe(),
    "all": small.spatial_recipe(sites="all"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", RECIPES)
def test_a_parked_training_holds_no_memory_of_the_card(name, dtype):
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()  # by what other tests keep
    training = small.new_training(RECIPES[name], dtype, torch.device("cuda"))
    for _ in range(2):
        training.advance()
    gc.collect()
    training.park()
    # Reserved, and not only allocated: one number in a block of 2 MiB keeps all of it.
    assert torch.cuda.memory_reserved() <= before
    assert training.unpark()
    training.advance()
