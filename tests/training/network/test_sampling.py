"""Clips from the training network: the same seeds, the same clips, whoever is beside them."""

import torch

from helpers.small import FRAMES, SIZE, TEXT, TOKENS, new_unet
from still_moving.training.network.sampling import denoise, sample_clips

SHAPE = (4, FRAMES, SIZE, SIZE)
TEXTS = torch.randn(3, TOKENS, TEXT, generator=torch.Generator().manual_seed(3))
EMPTY = torch.zeros(TOKENS, TEXT)


def clips(which=(0, 1, 2), seeds=(7, 8, 9)):
    chosen = [seeds[i] for i in which]
    return sample_clips(new_unet(), TEXTS[list(which)], EMPTY, seeds=chosen, size=SHAPE, steps=4)


def test_the_same_seeds_give_the_same_clips():
    first = clips()
    torch.manual_seed(99)
    assert torch.equal(first, clips())
    assert first.shape == (3, *SHAPE)
    assert first.dtype == torch.float32
    assert torch.isfinite(first).all()
    assert not torch.equal(first[2], clips(seeds=(7, 8, 10))[2])


def test_clips_do_not_depend_on_their_batch():
    together = clips()
    for i in range(3):
        alone = clips(which=(i,))[0]
        assert (together[i] - alone).norm() / alone.norm() < 1e-5


def test_a_network_that_knows_the_noise_finds_the_picture():
    picture = torch.linspace(-1, 1, 64)
    alphas = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0)

    def truth(noisy, timesteps, _text):
        kept = alphas[timesteps[0]]
        return (noisy - kept.sqrt() * picture) / (1 - kept).sqrt()

    text = torch.zeros(5, 1, 1)
    samples = denoise(truth, text, text[0], seeds=range(5), size=(64,), steps=10, cfg=1.0)
    assert torch.allclose(samples, picture.expand_as(samples), atol=1e-4)


def test_guidance_goes_on_in_the_direction_of_the_prompt():
    def network(noisy, _timesteps, text):
        return text[:, :1, 0].expand_as(noisy)

    def one(cfg, empty):
        text = torch.ones(1, 1, 1)
        no_text = torch.full((1, 1), empty)
        return denoise(network, text, no_text, seeds=[0], size=(3,), steps=3, cfg=cfg)

    # The network's answer is constant and the clip linear in it.
    step = one(2.0, 0.25) - one(1.0, 0.25)
    assert torch.allclose(one(3.0, 0.25) - one(1.0, 0.25), 2 * step, rtol=1e-4)
    assert torch.allclose(one(2.0, 1.0), one(1.0, 0.25), atol=1e-5)
    assert step.abs().min() > 0.1
