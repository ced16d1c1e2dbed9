"""Memory tiers: less remembered, the same gradients."""

import pytest
import torch
from torch import Tensor

from helpers.small import motion_recipe, new_training, randomize, spatial_recipe
from still_moving.training.network.tiers import (
    TIERS,
    MemoryTiers,
    choose_tier,
)
from still_moving.training.stage.draws import training_draw


def gradients(training, tier: str) -> dict[str, Tensor]:
    training.tiers.set(tier)
    training.optimizer.zero_grad()
    for n in range(2):
        draw = training_draw(0, 0, training.stage, [3] * len(training.items), n)
        training.draw_loss(draw, training.learned_items[draw.source]).backward()
    grads = {}
    for name, parameter in training.trainable.parameters.items():
        assert parameter.grad is not None, name
        grads[name] = parameter.grad.clone()
    return grads


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        motion_recipe(),
        spatial_recipe(),
        spatial_recipe(sites="blocks"),
        spatial_recipe(sites="all"),
    ],
    ids=["motion", "layers", "blocks", "all"],
)
def test_every_tier_gives_equal_gradients_bit_for_bit(recipe):
    training = new_training(recipe)
    randomize(training.trainable.parameters.values(), 0.05)
    expected = gradients(training, "none")
    assert all(grad.abs().max() > 0 for grad in expected.values())
    for tier in ("all", "two", "top", "none"):  # and back: switching leaves nothing behind
        grads = gradients(training, tier)
        assert all(torch.equal(grads[name], expected[name]) for name in expected), tier


def test_each_tier_remembers_less():
    """Counted by autograd itself: the bytes of tensors that it keeps for the backward pass."""
    training = new_training(motion_recipe())
    sizes = []
    for tier in TIERS:
        training.tiers.set(tier)
        kept = {}

        def keep(tensor: Tensor, kept: dict = kept) -> Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        draw = training_draw(0, 0, training.stage, [3], 0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            training.draw_loss(draw, training.learned_items[0])
        sizes.append(sum(kept.values()))
    none, top, two, all_of_it = sizes
    assert none > top > two >= all_of_it
    assert all_of_it < none / 2


def test_tiers_go_up_to_the_last():
    tiers = MemoryTiers(new_training(motion_recipe()).unet)
    seen = [tiers.tier]
    while (tier := tiers.next()) is not None:
        tiers.set(tier)
        seen.append(tier)
    assert tuple(seen) == TIERS


def test_less_free_memory_chooses_a_higher_tier():
    unet = new_training(motion_recipe()).unet
    chosen = [choose_tier(unet, (16, 64, 64), int(gib * 2**30)) for gib in (0.1, 2, 3, 6, 20, 99)]
    order = [TIERS.index(tier) for tier in chosen]
    assert order == sorted(order, reverse=True)
    assert (chosen[0], chosen[-1]) == ("all", "none")
