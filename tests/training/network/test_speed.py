"""Levers change how fast a step is and how much it holds, and nothing of what it computes."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from helpers.small import (
    motion_recipe,
    new_training,
    randomize,
    spatial_recipe,
)
from still_moving.benchmarks.training.loops import Encoders, PlainLoop, Size
from still_moving.benchmarks.training.loops import new_training as random_training
from still_moving.training.network.tiers import TIERS
from still_moving.training.stage.draws import Draw, training_draw
from still_moving.training.stage.loop import StageTraining
from still_moving.training.stage.losses import draw_noise

SIZE = Size(divide=10, frames=4, pixels=64)
CPU = torch.device("cpu")
AGREE = 1e-5  # of gradients in fp32: the norm of the difference over the norm
HALF_AGREES = 0.1  # of bf16, which has three digits
CURVES_AGREE = 1e-3  # of any loss in 200 steps
KINDS = ("motion", "spatial")


def draw_of(training: StageTraining, n: int) -> Draw:
    sizes = list(map(len, training.learned_items))
    return training_draw(training.recipe.seed, 0, training.stage, sizes, n)


def noise_of(training: StageTraining, n: int) -> Tensor:
    height = training.items[0][0].latents.shape[-1]
    shape = (1, 4, training.recipe.frames, height, height)
    return draw_noise(shape, draw_of(training, n).noise_seed, training.stage.noise.offset)


def gradient(training: StageTraining) -> Tensor:
    """Of the first two samples: of every source one."""
    training.optimizer.zero_grad()
    for n in range(2):
        draw = draw_of(training, n)
        training.draw_loss(draw, training.learned_items[draw.source]).backward()
    return flat(training)


def plain_gradient(loop: PlainLoop) -> Tensor:
    loop.optimizer.zero_grad()
    for n in range(2):
        loop.loss(n, noise_of(loop.training, n)).backward()
    return flat(loop.training)


def flat(training: StageTraining) -> Tensor:
    grads = [p.grad for p in training.trainable.parameters.values()]
    assert all(grad is not None for grad in grads)
    return torch.cat([grad.flatten() for grad in grads if grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def learned_training(kind: str, dtype: torch.dtype = torch.float32) -> StageTraining:
    training = random_training(kind, SIZE, CPU, dtype)
    randomize(training.trainable.parameters.values(), 0.02)
    return training


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_lever_are_those_of_the_plain_loop(kind):
    training = learned_training(kind)
    loop = PlainLoop(training, None, autocast=False)
    training.unet.enable_gradient_checkpointing()
    expected = plain_gradient(loop)
    training.unet.disable_gradient_checkpointing()
    assert float(expected.norm()) > 1e-3
    for tier in TIERS:
        training.tiers.set(tier)
        assert distance(gradient(training), expected) <= AGREE, tier
    training.tiers.set("none")
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with sdpa_kernel(backend):
            assert distance(gradient(training), expected) <= AGREE, backend
    training.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in stubs
    assert distance(gradient(training), expected) <= AGREE
    half = learned_training(kind, torch.bfloat16)
    assert AGREE < distance(gradient(half), expected) <= HALF_AGREES


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_holds_what_the_encoders_say(kind):
    """The uncached plain loop, and the trainer on what those encoders would have cached."""
    training, encoders = learned_training(kind), Encoders(SIZE, CPU)
    expected = plain_gradient(PlainLoop(training, encoders, autocast=False))
    text = encoders.text()[0]
    cached = [encoders.latents(pixels) for pixels in encoders.pixels]
    training.learned_items = [
        [
            dataclasses.replace(item, latents=latents, text=text)
            for item, latents in zip(items, cached, strict=True)
        ]
        for items in training.items
    ]
    assert distance(gradient(training), expected) <= AGREE


@pytest.mark.night
@pytest.mark.slow
@pytest.mark.parametrize("recipe", [motion_recipe(), spatial_recipe()], ids=KINDS)
def test_loss_curves_of_200_steps_overlap(recipe):
    recipe = dataclasses.replace(recipe, tier="all")
    ours, plain = new_training(recipe), PlainLoop(new_training(recipe), None, autocast=False)
    plain.training.tiers.set("none")
    losses = []
    for n in range(200):
        loss = plain.loss(n, noise_of(plain.training, n))
        loss.backward()
        values = list(plain.training.trainable.parameters.values())
        torch.nn.utils.clip_grad_norm_(values, recipe.clip_norm)
        plain.optimizer.step()
        plain.optimizer.zero_grad()
        losses.append(loss.item())
    for expected in losses:
        assert ours.advance().loss == pytest.approx(expected, rel=CURVES_AGREE)
    assert sum(losses[-50:]) < sum(losses[:50])
