"""torch.compile: tried where it can pay, and never fatal."""

import pytest
import torch
from torch import Tensor

from helpers.small import (
    motion_recipe,
    new_training,
    randomize,
    spatial_recipe,
)
from still_moving.training.network import compiling
from still_moving.training.network.compiling import CompileTrial, can_compile, pays
from still_moving.training.network.tiers import MemoryTiers
from still_moving.training.stage.draws import Draw, training_draw
from still_moving.training.stage.loop import StageTraining

CPU = torch.device("cpu")


AGREE = 1e-5  # of gradients in fp32: the norm of the difference over the norm


KINDS = ("motion", "spatial")


def draw_of(training: StageTraining, n: int) -> Draw:
    sizes = list(map(len, training.learned_items))
    return training_draw(training.recipe.seed, 0, training.stage, sizes, n)


def gradient(training: StageTraining) -> Tensor:
    """Of the first two samples: of every source one."""
    training.optimizer.zero_grad()
    for n in range(2):
        draw = draw_of(training, n)
        training.draw_loss(draw, training.learned_items[draw.source]).backward()
    return flat(training)


def flat(training: StageTraining) -> Tensor:
    grads = [p.grad for p in training.trainable.parameters.values()]
    assert all(grad is not None for grad in grads)
    return torch.cat([grad.flatten() for grad in grads if grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.night
@pytest.mark.slow
@pytest.mark.parametrize("recipe", [motion_recipe(), spatial_recipe()], ids=KINDS)
def test_compiled_segments_have_the_gradients_of_written_ones(recipe):
    """Traced, differentiated and partitioned as always; only the code generator is left out."""
    training = new_training(recipe)
    randomize(training.trainable.parameters.values(), 0.05)
    expected = gradient(training)
    compiling.compile_segments(training.tiers, backend="aot_eager_decomp_partition")
    for tier in ("none", "all"):
        training.tiers.set(tier)
        assert distance(gradient(training), expected) <= AGREE, tier
    training.tiers.compile(False)
    assert torch.equal(gradient(training), expected)


def trial(steps_left: int, before: float, after: float) -> MemoryTiers:
    """The tiers of a run whose steps took so long before and after compiling."""
    tiers = MemoryTiers(new_training(motion_recipe()).unet)
    watched = CompileTrial(tiers, CPU)
    assert not watched.open
    watched.open = True  # as on a card
    for _ in range(3 * (compiling.WARM + compiling.TIMED)):
        watched.look(after if tiers.compiled else before, steps_left)
    assert not watched.open
    return tiers


def test_a_run_is_compiled_where_it_pays_and_stays_so_where_it_is_faster():
    assert not trial(steps_left=600, before=0.1, after=0.05).compiled  # too short
    assert trial(steps_left=4000, before=0.5, after=0.4).compiled
    assert not trial(steps_left=4000, before=0.5, after=0.5).compiled  # tried in vain
    assert not can_compile(CPU)
    assert pays(0.5, 4000)
    assert not pays(0.5, 40)


def test_what_fails_compiled_is_run_as_written():
    written, training = new_training(motion_recipe()), new_training(motion_recipe())

    def broken(_graph, _inputs):
        raise RuntimeError("no compiler here")

    compiling.compile_segments(training.tiers, backend=broken)
    for _ in range(2):
        ours, expected = training.advance(), written.advance()
        assert (ours.loss, ours.grad_norm) == (expected.loss, expected.grad_norm)
    assert not training.tiers.compiled
    assert not training.trial.open


def test_an_error_of_the_network_as_written_is_told():
    training = new_training(motion_recipe())

    def hook(_module, _inputs):
        raise RuntimeError("the card fell off the bus")

    training.unet.conv_in.register_forward_pre_hook(hook)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        training.advance()
    assert training.step == 0
