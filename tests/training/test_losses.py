"""Noise and losses: pure functions, held against numbers made by other means."""

import pytest
import torch

from still_moving.training.losses import draw_noise, epsilon_mse

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
    by_hand = sum(((p - n) ** 2).double().sum() for p, n in zip(predicted, noise, strict=True))
    loss = epsilon_mse(predicted, noise)
    assert loss.item() == pytest.approx(by_hand.item() / predicted.numel(), rel=1e-6)
    half = epsilon_mse(predicted.bfloat16(), noise)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss.item(), rel=1e-2)
