"""A card that is full, or is given back: out of memory in a step, parking, and coming back."""

import gc

import pytest
import torch

from helpers import card
from helpers.card.library import card as machine
from helpers.small import (
    differences,
    motion_recipe,
    new_training,
    sets,
    spatial_recipe,
    training_set,
    weights,
)
from helpers.small import new_unet as unet_of
from still_moving.common.errors import UserError
from still_moving.training.network.tiers import TIERS
from still_moving.training.stage.loop import StageTraining

CUDA = torch.device("cuda", 0)
TOO_MUCH = 1 << 40  # bytes
RECIPES = {
    "motion, batch, average": motion_recipe(batch=2, ema=0.9),
    "layers": spatial_recipe(),
    "all, average": spatial_recipe(sites="all", ema=0.9),
}
parked_stages = pytest.mark.parametrize("name", RECIPES)
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


class _FullInBackward(torch.autograd.Function):
    """Passes features on, and asks for too much when their gradient comes back."""

    @staticmethod
    def forward(ctx, features, full):
        ctx.full = full
        return features.view_as(features)

    @staticmethod
    def backward(ctx, *gradients):
        if ctx.full():
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=CUDA)
        return gradients[0], None


def fill(training: StageTraining, where: str, tiers: tuple[str, ...]) -> None:
    """The card has no room for what the up path wants, as long as a tier is one of these."""

    def full() -> bool:
        return torch.is_grad_enabled() and training.tiers.tier in tiers

    def forward(_module, args, kwargs):
        if where == "forward" and full():
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=CUDA)
        features = kwargs["hidden_states"]
        if where == "backward" and features.requires_grad:
            kwargs["hidden_states"] = _FullInBackward.apply(
                features, lambda: training.tiers.tier in tiers
            )
        return args, kwargs

    block = training.unet.up_blocks[1]
    block.register_forward_pre_hook(forward, with_kwargs=True)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_out_of_memory_repeats_the_step_a_tier_up(where):
    recipe = motion_recipe(batch=2)
    undisturbed, training = (new_training(recipe, device=CUDA) for _ in range(2))
    undisturbed.advance()
    training.advance()
    refused = machine().counters.refused
    fill(training, where, ("none", "top"))
    expected, step = undisturbed.advance(), training.advance()
    assert machine().counters.refused > refused
    assert step.tier == "two"
    assert (step.loss, step.grad_norm) == (expected.loss, expected.grad_norm)
    assert differences(undisturbed.trainable.parameters, training.trainable.parameters) == []


def larger() -> StageTraining:
    """Of a size at which features, not weights, hold the memory."""
    clips = {**sets(), "frames": training_set("clips", frames=9, size=16)}
    unet = unet_of(device=CUDA)
    return StageTraining(motion_recipe(frames=8), 0, unet, weights().layout, clips)


def reserved_peak(training: StageTraining) -> int:
    """Bytes that torch takes for a step with nothing spare before it."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    training.advance()
    return torch.cuda.max_memory_reserved()


def test_at_a_limit_in_bytes_a_step_moves_to_the_tier_that_fits():
    undisturbed, peaks = larger(), {}
    undisturbed.advance()
    expected = undisturbed.advance()
    for tier in reversed(TIERS):
        undisturbed.tiers.set(tier)
        peaks[tier] = reserved_peak(undisturbed)
    assert peaks["none"] > peaks["top"] > peaks["two"] > peaks["all"]
    del undisturbed
    gc.collect()
    torch.cuda.empty_cache()
    training = larger()
    training.advance()
    torch.cuda.empty_cache()
    with card.limit((peaks["top"] + peaks["two"]) // 2):
        step = training.advance()
    assert step.tier in ("two", "all")
    assert (step.loss, step.grad_norm) == (expected.loss, expected.grad_norm)


def test_a_full_card_is_told_with_its_numbers_and_the_run_goes_on_when_there_is_room():
    training = larger()
    training.advance()
    with card.crowded(), pytest.raises(UserError, match=r"every memory tier, 0\.0 GiB free"):
        training.advance()
    assert training.step == 1
    assert training.advance().tier == "all"


@parked_stages
@precisions
def test_parking_gives_the_card_back_and_changes_nothing(name, dtype):
    one, other = (new_training(RECIPES[name], dtype, CUDA) for _ in range(2))
    for _ in range(2):
        assert (one.advance().loss) == (other.advance().loss)
    alone = torch.cuda.memory_allocated()
    parameters = [id(value) for value in other.trainable.parameters.values()]
    other.park()
    assert other.parked
    given_back = alone - torch.cuda.memory_allocated()
    assert given_back >= sum(tensor.nbytes for tensor in moved(other))
    assert {tensor.device.type for tensor in moved(other)} == {"cpu"}
    assert [id(value) for value in other.trainable.parameters.values()] == parameters
    assert other.unpark()
    assert not other.parked
    for _ in range(2):
        a, b = one.advance(), other.advance()
        assert (a.loss, a.grad_norm) == (b.loss, b.grad_norm)
    assert differences(one.trainable.parameters, other.trainable.parameters) == []


def moved(training: StageTraining) -> list[torch.Tensor]:
    """The tensors that parking moves."""
    beside = [p for module in training.trainable.beside for p in module.parameters()]
    state = [v for entry in training.optimizer.state.values() for v in entry.values()]
    return [*training.unet.parameters(), *beside, *state, *training.average.values()]


def test_without_room_a_parked_run_stays_parked_as_a_whole():
    training = new_training(RECIPES["all, average"], device=CUDA)
    training.advance()
    training.park()
    with card.crowded(free=4 << 20):
        assert not training.unpark()
        assert training.parked
        assert {tensor.device.type for tensor in moved(training)} == {"cpu"}
    assert training.unpark()
    assert not training.advance().skipped
