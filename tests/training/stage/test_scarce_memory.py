"""Memory that is lacking at any place of a step: the step is repeated, and comes out as ever."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.small import differences, motion_recipe, new_training, spatial_recipe

RECIPES = {
    "motion": motion_recipe(batch=2, ema=0.9),
    "all spatial weights": spatial_recipe(sites="all", ema=0.9),
}


class Scarce(TorchDispatchMode):
    """Memory that is lacking once: for the n-th operation that makes a tensor. Counts them."""

    def __init__(self, lacking: int = -1):
        super().__init__()
        self.lacking, self.made = lacking, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        makes = any("Tensor" in str(result.type) for result in func._schema.returns)
        if makes and not func.is_view and not func._schema.is_mutable:
            self.made += 1
            if self.made == self.lacking:
                raise torch.OutOfMemoryError("out of memory, as a card says it")
        return func(*args, **(kwargs or {}))


def state_of(training) -> dict[str, torch.Tensor]:
    whole = training.checkpoint()
    parts = {"value": whole.tensors, "optimizer": whole.optimizer, "average": whole.average}
    return {f"{part} {n}": t.clone() for part, own in parts.items() for n, t in own.items()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_that_lacked_memory_anywhere_is_the_step(name, dtype):
    """At some places of the gradients, and at a fifth of those after them."""
    undisturbed = new_training(RECIPES[name], dtype)
    with Scarce() as counted:
        losses = undisturbed._gradients()
    gradients = counted.made
    assert losses.isfinite().all()
    undisturbed.optimizer.zero_grad()
    with Scarce() as counted:
        expected = undisturbed.advance()
    assert counted.made > gradients
    first = 1 + list(RECIPES).index(name) + 2 * (dtype == torch.float16)  # others for each case
    after = range(gradients + first, counted.made + 1, 5)
    for place in (first, gradients // first, *after, counted.made):
        training = new_training(RECIPES[name], dtype)
        with Scarce(place):
            step = training.advance()
        assert step.tier == "top", place
        assert (step.loss, step.grad_norm) == (expected.loss, expected.grad_norm), place
        assert differences(state_of(undisturbed), state_of(training)) == [], place
        assert training.scaler.state_dict() == undisturbed.scaler.state_dict()


def test_nothing_is_made_once_a_step_changes_anything():
    """So no update can end half-way for want of memory: AdamW's state is there from the start."""
    training = new_training(spatial_recipe(sites="all", ema=0.9))
    losses = training._gradients()
    _, *guards = training._settle(0.0, losses)
    with Scarce() as counted:
        training._update(*guards)
        training.scaler.update()
        training.optimizer.zero_grad(set_to_none=True)
    assert counted.made == 0
