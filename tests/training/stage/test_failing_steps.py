"""Steps that fail, or would in half precision: out of memory, not a number."""

import dataclasses
import math

import pytest
import torch

from helpers.small import (
    FRAMES,
    differences,
    motion_recipe,
    new_training,
    sets,
    spatial_recipe,
)
from still_moving.common.errors import UserError
from still_moving.training.stage.checkpoints import load_checkpoint, save_checkpoint
from still_moving.training.stage.loop import StageTraining

RECIPES = {
    "motion": motion_recipe(),
    "layers": spatial_recipe(),
    "blocks": spatial_recipe(sites="blocks"),
    "all spatial weights": spatial_recipe(sites="all"),
    "no motion adapter": spatial_recipe(motion_adapter=False),
    "no natural clips": spatial_recipe(natural_clips=False),
    "prior at scale 1": spatial_recipe(prior_scale=1.0),
}


def failing(training: StageTraining, tiers: tuple[str, ...]) -> list[str]:
    """Make the network run out of memory while a tier is one of these; returns the tiers met."""
    met = []

    def hook(_module, _inputs) -> None:
        if torch.is_grad_enabled() and not (met and met[-1] == training.tiers.tier):
            met.append(training.tiers.tier)
        if training.tiers.tier in tiers:
            raise torch.OutOfMemoryError("out of memory, as a card says it")

    # In the up path: gradients of nothing, or of a first sample, may be there already.
    training.unet.up_blocks[1].register_forward_pre_hook(hook)
    return met


@pytest.mark.slow
@pytest.mark.parametrize("tiers", [("none",), ("none", "top"), ("none", "top", "two")])
def test_out_of_memory_repeats_the_step_a_tier_up(tiers):
    undisturbed, training = (
        new_training(motion_recipe(batch=2)),
        new_training(motion_recipe(batch=2)),
    )
    undisturbed.advance()
    training.advance()
    met = failing(training, tiers)
    expected, step = undisturbed.advance(), training.advance()
    assert step.tier == ("none", "top", "two", "all")[len(tiers)]
    assert met == [*tiers, step.tier]
    assert (step.step, step.loss, step.grad_norm) == (2, expected.loss, expected.grad_norm)
    assert differences(undisturbed.trainable.parameters, training.trainable.parameters) == []


def test_out_of_memory_between_two_samples_counts_none_twice():
    undisturbed, training = (
        new_training(motion_recipe(batch=2)),
        new_training(motion_recipe(batch=2)),
    )
    calls = []

    def second_fails(_module, _inputs) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")

    training.unet.conv_in.register_forward_pre_hook(second_fails)
    assert training.advance().grad_norm == undisturbed.advance().grad_norm
    assert differences(undisturbed.trainable.parameters, training.trainable.parameters) == []


def test_out_of_memory_at_the_last_tier_says_what_there_is():
    training = new_training(motion_recipe())
    failing(training, ("none", "top", "two", "all"))
    with pytest.raises(UserError, match=rf"too little for step 1 in .*GiB free.*{FRAMES} frames"):
        training.advance()
    assert training.step == 0


def with_nan(recipe, bad: int) -> StageTraining:
    """A run whose set holds not-a-number in the first ``bad`` items."""
    training = new_training(recipe)
    for item in training.items[0][:bad]:
        item.latents[...] = math.nan
    return training


@pytest.fixture
def own_sets(monkeypatch):
    """Sets that a test may spoil."""
    from helpers import small

    copies = {
        name: dataclasses.replace(
            shared,
            items=tuple(dataclasses.replace(i, latents=i.latents.clone()) for i in shared.items),
        )
        for name, shared in sets().items()
    }
    monkeypatch.setattr(small, "sets", lambda: copies)


@pytest.mark.usefixtures("own_sets")
def test_steps_that_are_no_numbers_change_nothing():
    training = with_nan(motion_recipe(steps=9, ema=0.5), bad=1)
    skipped = []
    for _ in range(9):
        before = training.checkpoint()
        kept = {
            part: {k: v.clone() for k, v in getattr(before, part).items()}
            for part in ("tensors", "optimizer", "average")
        }
        average = training.loss_average
        step = training.advance()
        skipped.append(step.skipped)
        if step.skipped:
            assert math.isnan(step.loss)
            after = training.checkpoint()
            for part, tensors in kept.items():
                assert differences(tensors, getattr(after, part)) == []
            assert training.loss_average == average or math.isnan(average)
    assert skipped.count(True) == 3  # one item of three, in three rounds
    assert all(torch.isfinite(p).all() for p in training.trainable.parameters.values())


@pytest.mark.usefixtures("own_sets")
def test_ten_such_steps_in_a_row_stop_the_run():
    training = with_nan(motion_recipe(steps=50), bad=3)
    for _ in range(9):
        assert training.advance().skipped
    with pytest.raises(UserError, match="10 non-finite losses in a row"):
        training.advance()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["motion", "layers", "blocks", "all spatial weights"])
def test_half_precision_trains_fp32_values(name, dtype):
    training = new_training(RECIPES[name], dtype)
    start = {n: p.detach().clone() for n, p in training.trainable.parameters.items()}
    steps = [training.advance() for _ in range(3)]
    assert not any(step.skipped for step in steps)
    exact = new_training(RECIPES[name])
    for step in steps:
        assert step.loss == pytest.approx(exact.advance().loss, rel=0.05)
    assert {p.dtype for p in training.trainable.parameters.values()} == {torch.float32}
    assert set(differences(start, training.trainable.parameters)) == set(start)
    frozen = [p for p in training.unet.parameters() if not p.requires_grad and p.dtype != dtype]
    assert all(p.numel() <= 64 * 4 for p in frozen)  # LoRA pairs in use stay fp32


def test_fp16_scales_its_loss_and_the_scale_survives(tmp_path):
    recipe = motion_recipe(steps=9)
    training = new_training(recipe, torch.float16)
    training.scaler.load_state_dict({**training.scaler.state_dict(), "scale": 2.0**40})
    first = training.advance()
    assert first.skipped  # infinite gradients: the scaler backs off
    assert training.scaler.get_scale() == 2.0**39
    while (step := training.advance()).skipped:
        assert step.step < 9
        training.scaler.update(2.0**10)
    save_checkpoint(tmp_path, training.checkpoint())
    resumed = new_training(recipe, torch.float16)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    resumed.restore(checkpoint)
    assert resumed.scaler.get_scale() == training.scaler.get_scale() != 2.0**14
    one, other = training.advance(), resumed.advance()
    assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)
    assert differences(training.trainable.parameters, resumed.trainable.parameters) == []
    assert new_training(recipe).scaler.is_enabled() is False
