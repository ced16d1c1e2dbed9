"""Noise and losses: pure functions, held against numbers made by other means."""

import pytest
import torch

from helpers.small import motion_recipe, new_training
from still_moving.training.recipes.methods import vmc
from still_moving.training.stage.draws import Draw
from still_moving.training.stage.losses import (
    LOSSES,
    debiased_weights,
    draw_noise,
    epsilon_mse,
    residual_cosine,
    residual_l2,
    residual_official,
    stage_loss,
)

SHAPE = (2, 4, 5, 6, 7)


def test_noise_is_a_function_of_its_seed():
    assert torch.equal(draw_noise(SHAPE, 3, 0.1), draw_noise(SHAPE, 3, 0.1))
    assert not torch.equal(draw_noise(SHAPE, 3, 0.1), draw_noise(SHAPE, 4, 0.1))
    state = torch.random.get_rng_state()
    draw_noise(SHAPE, 3, 0.1)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_offset_is_one_number_a_channel_shared_over_frames_and_pixels():
    difference = draw_noise(SHAPE, 3, 0.5) - draw_noise(SHAPE, 3, 0.0)
    per_channel = difference[:, :, :1, :1, :1]
    assert torch.allclose(difference, per_channel.expand(SHAPE), atol=1e-6)
    assert len(per_channel.flatten().unique()) == 8
    doubled = draw_noise(SHAPE, 3, 1.0) - draw_noise(SHAPE, 3, 0.0)
    assert torch.allclose(doubled, 2 * difference, atol=1e-6)


def test_offset_noise_has_the_variance_it_should():
    noise = torch.cat([draw_noise((1, 4, 8, 16, 16), seed, 0.5) for seed in range(500)])
    means = noise.mean(dim=(2, 3, 4))  # of one channel of one clip: the offset shows here
    assert means.var().item() == pytest.approx(0.25 + 1 / (8 * 16 * 16), rel=0.1)
    inside = (noise - means[..., None, None, None]).var().item()
    assert inside == pytest.approx(1.0, rel=0.02)


def test_the_loss_is_the_mean_squared_error_in_fp32():
    generator = torch.Generator().manual_seed(0)
    predicted, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    by_hand = sum(
        ((p - n) ** 2).double().sum().item() for p, n in zip(predicted, noise, strict=True)
    )
    loss = epsilon_mse(predicted, noise)
    assert loss.item() == pytest.approx(by_hand / predicted.numel(), rel=1e-6)
    half = epsilon_mse(predicted.bfloat16(), noise)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss.item(), rel=1e-2)


def clip(*frames: tuple[float, float]) -> torch.Tensor:
    """(1, 2, frames, 1, 1): a clip of one pixel with two channels."""
    return torch.tensor(frames).T[None, :, :, None, None].requires_grad_()


def test_residual_losses_are_what_they_are_by_hand():
    # Residuals: (1, 0) and (0, 2) of the truth; (1, 1) and (0, -1) of the prediction.
    true = clip((0.0, 0.0), (1.0, 0.0), (1.0, 2.0))
    ours = clip((5.0, 5.0), (6.0, 6.0), (6.0, 5.0))
    expected = ((1 - 0.5**0.5) + (1 + 1)) / 2
    assert residual_cosine(ours, true).item() == pytest.approx(expected, rel=1e-6)
    # Along time, absolute: channel 1 (1, 0) and (1, 0); channel 2 (0, 2) and (1, 1).
    expected = (0 + (1 - 0.5**0.5)) / 2
    assert residual_official(ours, true).item() == pytest.approx(expected, rel=1e-5)
    # Differences: (0, 1) and (0, -3).
    assert residual_l2(ours, true).item() == pytest.approx((0 + 1 + 0 + 9) / 4)


def test_gradients_of_residual_losses_are_what_they_are_by_hand():
    true = clip((0.0, 0.0), (1.0, 0.0))
    ours = clip((0.0, 0.0), (1.0, 1.0))
    residual_l2(ours, true).backward()
    # d/dr of mean((r - s)^2) = 2 (r - s) / 2 = (0, 1), plus at the later frame, minus before.
    assert ours.grad is not None
    assert torch.allclose(ours.grad[0, :, :, 0, 0], torch.tensor([[0.0, 0.0], [-1.0, 1.0]]))
    ours.grad = None
    residual_cosine(ours, true).backward()
    assert ours.grad is not None
    # -(s/|s| - cos r/|r|) / |r| at r = (1, 1), s = (1, 0): -(1/2, -1/2) / sqrt 2.
    half = 0.5 * 0.5**0.5
    expected = torch.tensor([[half, -half], [-half, half]])
    assert torch.allclose(ours.grad[0, :, :, 0, 0], expected, atol=1e-6)


def test_the_published_code_cannot_tell_a_motion_from_its_opposite():
    generator = torch.Generator().manual_seed(0)
    noise, other = (torch.randn(1, 4, 16, 16, 16, generator=generator) for _ in range(2))
    assert residual_official(-noise, noise).item() == pytest.approx(0.0, abs=1e-5)
    assert residual_cosine(-noise, noise).item() == pytest.approx(2.0, abs=1e-5)
    assert residual_cosine(other, noise).item() == pytest.approx(1.0, abs=0.02)
    assert residual_official(other, noise).item() == pytest.approx(0.334, abs=0.02)


def test_residual_losses_leave_what_all_frames_share_free():
    generator = torch.Generator().manual_seed(0)
    noise, other = (torch.randn(1, 4, 8, 4, 4, generator=generator) for _ in range(2))
    shared = torch.randn(1, 4, 1, 4, 4, generator=generator)
    for loss in (residual_cosine, residual_official, residual_l2):
        assert loss(other + shared, noise).item() == pytest.approx(
            loss(other, noise).item(), rel=1e-4
        )
    assert residual_cosine(3 * other, noise).item() == pytest.approx(
        residual_cosine(other, noise).item(), rel=1e-5
    )


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"epsilon_mse"}))
def test_a_stage_adds_its_share_of_the_plain_loss(name):
    generator = torch.Generator().manual_seed(0)
    noise, ours = (torch.randn(1, 4, 3, 4, 4, generator=generator) for _ in range(2))
    stage = vmc(loss=name, mse_weight=0.25).stages[0]
    expected = LOSSES[name](ours, noise) + 0.25 * epsilon_mse(ours, noise)
    assert stage_loss(stage, ours, noise).item() == pytest.approx(expected.item())
    plain = vmc(loss=name).stages[0]
    assert torch.equal(stage_loss(plain, ours, noise), LOSSES[name](ours, noise))
    assert LOSSES[name](ours.bfloat16(), noise).dtype == torch.float32


def test_the_plain_loss_is_not_counted_twice():
    generator = torch.Generator().manual_seed(0)
    noise, ours = (torch.randn(1, 4, 3, 4, 4, generator=generator) for _ in range(2))
    stage = vmc(loss="epsilon_mse", mse_weight=1.0).stages[0]
    assert torch.equal(stage_loss(stage, ours, noise), epsilon_mse(ours, noise))


def test_debiased_weights_are_the_root_of_noise_over_signal():
    kept = torch.tensor([0.0, 0.0016, 0.2, 0.5, 0.9, 0.99999])
    weights = debiased_weights(kept)
    assert weights.mean().item() == pytest.approx(1)
    assert weights.isfinite().all()
    assert (weights[1:-1] / weights[3]).tolist() == pytest.approx([24.98, 2, 1, 1 / 3], rel=1e-3)
    assert (weights[-1] / weights[3]).item() == pytest.approx(1000**-0.5, rel=1e-3)
    velocity = debiased_weights(kept, of_velocity=True)
    assert (velocity[:-1] / velocity[3]).tolist() == pytest.approx([2, 1.9968, 1.6, 1, 0.2])


@pytest.mark.parametrize("loss", ["epsilon_mse", "residual_l2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_debiased_stage_weighs_each_sample_by_its_timestep(loss, prediction):
    plain, weighed = (
        new_training(motion_recipe(debiased=on, loss=loss, prediction=prediction))
        for on in (False, True)
    )
    of_velocity = (loss, prediction) == ("epsilon_mse", "v_prediction")
    weights = debiased_weights(plain.scheduler.alphas_cumprod, of_velocity)
    for t in (3, 500, 999):
        draw = Draw(source=0, item=0, frame=0.5, timestep=t, noise_seed=7)
        ours, theirs = (x.draw_loss(draw, x.learned_items[0]).item() for x in (weighed, plain))
        assert ours == pytest.approx(weights[t].item() * theirs, rel=1e-5)
