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


@pytest.mark.parametrize(
    ("free_gib", "tier", "asked"),
    [
        (99, "none", ["none"]),
        (14, "top", ["none", "two", "top"]),
        (8, "two", ["none", "two", "top"]),
        (5, "all", ["none", "two"]),
        (0, "all", ["none", "two"]),
    ],
)
def test_the_fastest_tier_that_fits_is_chosen(free_gib, tier, asked):
    peaks, seen = {"none": 20.0, "top": 10.0, "two": 5.0, "all": 2.0}, []

    def peak(tier: str) -> int:
        seen.append(tier)
        return int(peaks[tier] * 2**30)

    assert choose_tier(peak, free_gib * 2**30) == tier
    assert seen == asked
