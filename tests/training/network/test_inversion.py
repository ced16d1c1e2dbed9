"""DDIM inversion: start latents from which the deterministic sampler makes the clip again."""

from functools import cache
from pathlib import Path

import pytest
import torch

from helpers.small import new_unet
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import read_tensors
from still_moving.common.errors import UserError
from still_moving.demo import world
from still_moving.training.network.inversion import (
    KEY,
    invert,
    levels,
    move,
    network_of,
    round_trip_error,
    sample,
    save_start,
    without_colours,
)
from still_moving.training.network.sampling import denoise
from still_moving.training.network.unet import build_unet
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS

STEPS = 20


@cache
def shapes_world():
    """(network, real clip) of the shapes world: a network that was trained."""
    files = read_unet(WEIGHTS / BASE), read_motion_module(WEIGHTS / MOTION_MODULE)
    unet = build_unet(*files, torch.float32, torch.device("cpu"))
    scene = world.all_scenes()[0]
    frames = world.make_clip(scene, torch.Generator().manual_seed(0)).frames
    clip = latents.encode_world(frames).transpose(0, 1)[None]
    return network_of(unet, latents.encode_prompt(scene.prompt)), clip


@cache
def inverted(refine: int):
    network, clip = shapes_world()
    return invert(network, clip, STEPS, refine)


def test_levels_are_those_of_the_sampler():
    times, kept = levels(4)
    assert times == [999, 749, 499, 249]
    assert (len(kept), kept[-1]) == (5, 1.0)
    assert kept == sorted(kept)


def test_a_step_back_undoes_a_step():
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(1, 4, 3, 4, 4, generator=generator) for _ in range(2))
    there = move(x, noise, 0.2, 0.7)
    assert torch.allclose(move(there, noise, 0.7, 0.2), x, atol=1e-5)
    expected = 0.7**0.5 * (x - 0.8**0.5 * noise) / 0.2**0.5 + 0.3**0.5 * noise
    assert torch.allclose(there, expected, atol=1e-6)


@pytest.mark.slow
def test_sampling_is_ddim_as_diffusers_has_it():
    from diffusers import DDIMScheduler

    from still_moving.training.network.unet import SCHEDULE

    network, clip = shapes_world()
    start = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(5)
    x = start
    with torch.no_grad():
        for t in scheduler.timesteps:
            noise = network(x, t.expand(1))
            x = scheduler.step(noise, int(t), x, eta=0.0, return_dict=False)[0]
    assert torch.allclose(sample(network, start, 5), x, atol=1e-4)


@pytest.mark.slow
def test_inversion_followed_by_sampling_is_the_clip():
    """Measured with the weights of 2026-11-21: 0.098 by plain inversion, 0.014 refined."""
    network, clip = shapes_world()
    errors = {n: round_trip_error(network, clip, inverted(n), STEPS) for n in (0, 5)}
    assert errors[5] < 0.02
    assert errors[5] < errors[0] / 4


@pytest.mark.slow
def test_start_latents_look_like_noise():
    clip, start = shapes_world()[1], inverted(5)
    assert start.std().item() == pytest.approx(1.0, abs=0.25)
    assert (start - clip).abs().mean() > 0.3


@pytest.mark.slow
def test_without_colours_only_each_channels_mean_is_gone():
    start = inverted(5)
    bare = without_colours(start)
    assert bare.mean((2, 3, 4)).abs().max() < 1e-6
    lost = start - bare
    assert torch.allclose(lost, lost[:, :, :1, :1, :1].expand_as(lost), atol=1e-6)
    assert torch.allclose(without_colours(bare), bare, atol=1e-6)


def test_a_network_that_only_shrinks_is_inverted_exactly():
    """With noise proportional to x the way back has a closed form."""
    clip = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    start = invert(lambda x, t: 0.3 * x, clip, 10, refine=40)
    assert torch.allclose(sample(lambda x, t: 0.3 * x, start, 10), clip, atol=1e-4)


def test_rounds_that_run_away_are_an_error():
    clip = torch.ones(1, 4, 3, 4, 4)
    with pytest.raises(UserError, match="no numbers at timestep"):
        invert(lambda x, t: -50 * x, clip, 10, refine=40)


def test_a_half_precision_network_is_called_in_its_own():
    network = network_of(new_unet(torch.bfloat16), torch.randn(6, 64))
    assert network(torch.randn(1, 4, 3, 4, 4), torch.tensor([5])).dtype == torch.float32


def test_start_latents_are_a_file(tmp_path: Path):
    start = torch.randn(4, 3, 4, 4)
    save_start(tmp_path / "start.safetensors", start, {"steps": "20"})
    tensors, metadata = read_tensors(tmp_path / "start.safetensors")
    assert torch.equal(tensors[KEY], start)
    assert metadata == {"steps": "20"}
    with pytest.raises(UserError, match="NaN"):
        save_start(tmp_path / "bad.safetensors", start / 0, {})


def test_denoise_has_the_same_levels():
    """What starts from inverted latents elsewhere shares the schedule with this sampler."""
    seen = []

    def network(noisy, timesteps, _text):
        seen.append(int(timesteps[0]))
        return noisy

    text = torch.zeros(1, 6, 64)
    denoise(network, text, text[0], seeds=[0], size=(4, 3, 4, 4), steps=7, cfg=1)
    assert seen == levels(7)[0]
