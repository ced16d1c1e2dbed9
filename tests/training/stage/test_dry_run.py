"""A step's memory, told before: as much as one then takes."""

import pytest
import torch

from helpers.small import motion_recipe, new_training, spatial_recipe
from still_moving.training.network.tiers import TIERS
from still_moving.training.stage import dry_run
from still_moving.training.stage.dry_run import LiveBytes, auto_tier, step_peak

RECIPES = {
    "motion": motion_recipe(),
    "batch of 2": motion_recipe(batch=2),
    "layers": spatial_recipe(),
    "all spatial weights": spatial_recipe(sites="all"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("motion", torch.float32),
        ("batch of 2", torch.bfloat16),
        ("layers", torch.bfloat16),
        ("all spatial weights", torch.float32),
    ],
)
def test_a_dry_run_tells_the_peak_of_a_real_one(name, dtype):
    training = new_training(RECIPES[name], dtype)
    parameters = [*training.unet.parameters(), *training.trainable.parameters.values()]
    before = {n: p.detach().clone() for n, p in training.trainable.parameters.items()}
    peaks = []
    for tier in TIERS:
        told = step_peak(training, training.tiers, tier)
        assert training.tiers.tier == "none"
        assert all(p.grad is None for p in parameters)
        training.tiers.set(tier)
        with LiveBytes(training.device, parameters) as live:
            training._gradients()
        training.optimizer.zero_grad()
        training.tiers.set("none")
        assert told == pytest.approx(live.peak, rel=0.1), tier
        peaks.append(told)
    assert peaks == sorted(peaks, reverse=True)
    assert all(torch.equal(p, before[n]) for n, p in training.trainable.parameters.items())


def test_the_tier_is_chosen_when_all_but_a_steps_own_is_there(monkeypatch):
    """Before the first step, with AdamW's state and the average made, and not when resumed."""
    recipe = motion_recipe(tier="auto", ema=0.9)
    training = new_training(recipe)
    need = step_peak(training, training.tiers, "two")
    monkeypatch.setattr(dry_run, "free_memory", lambda device: int(1.15 * need) + 2**28)
    assert auto_tier(training, training.tiers) == "two"
    assert training.advance().tier == "two"
    saved = training.checkpoint()
    monkeypatch.setattr(dry_run, "free_memory", lambda device: 2**60)
    assert new_training(recipe).advance().tier == "none"
    resumed = new_training(recipe)
    resumed.restore(saved)
    assert resumed.advance().tier == "two"


def test_gradients_are_counted_where_weights_are_trained_in_full():
    full, pairs = (new_training(RECIPES[n]) for n in ("all spatial weights", "layers"))
    size = 4 * sum(p.numel() for p in full.trainable.parameters.values())
    ours, theirs = (step_peak(t, t.tiers, "all") for t in (full, pairs))
    assert ours - theirs > 0.8 * size
