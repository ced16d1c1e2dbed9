"""FreeNoise: every window starts from the same noises, in every sampler that adds noise."""

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from hypothesis import given
from hypothesis import strategies as st

import nodes
from helpers.host import world
from still_moving.adapters.window_plans import shuffled_noise, uniform_windows
from still_moving.common.errors import UserError
from still_moving.nodes.clips.noise import FreeNoise

pytestmark = pytest.mark.every_comfyui

FRAMES, LENGTH, OVERLAP, SEED = 11, 4, 1, 7


def latent(frames: int = FRAMES, **more) -> dict:
    return {"samples": torch.zeros(frames, 4, 8, 8), **more}


def freed(source: dict, seed: int = 0) -> dict:
    return FreeNoise.execute(source, LENGTH, OVERLAP, seed).args[0]


def noise_of(source: dict) -> torch.Tensor:
    return Noise_RandomNoise(SEED).generate_noise(source)


@given(frames=st.integers(1, 90), length=st.integers(2, 32), seed=st.integers(0, 9), data=st.data())
def test_every_window_holds_every_noise_once(frames, length, seed, data):
    overlap = data.draw(st.integers(0, length - 1))
    order = shuffled_noise(frames, length, overlap, seed)
    assert len(order) == frames
    assert order[:length] == list(range(min(frames, length)))
    for window in uniform_windows(frames, length, overlap):
        assert sorted(order[i] for i in window) == list(range(min(frames, length)))


def test_the_seed_decides_the_order():
    plans = [tuple(shuffled_noise(64, 16, 4, seed)) for seed in (0, 1, 2, 0)]
    assert len(set(plans)) == 3
    assert plans[0] == plans[3]


def test_noise_is_the_first_windows_own_in_another_order():
    plain, free = noise_of(latent()), noise_of(freed(latent()))
    assert torch.equal(free[:LENGTH], plain[:LENGTH])
    assert not torch.equal(free[LENGTH:], plain[LENGTH:])
    first, all_of_them = (
        {tuple(frame.flatten().tolist()) for frame in frames} for frames in (plain[:LENGTH], free)
    )
    assert all_of_them == first


def test_a_clip_of_one_window_is_left_alone():
    source = latent(LENGTH)
    assert freed(source) is source


def test_what_else_a_latent_holds_stays():
    mask = torch.ones(FRAMES, 8, 8)
    source = latent(noise_mask=mask, batch_index=list(range(20, 20 + FRAMES)))
    made = freed(source)
    assert made["noise_mask"] is mask
    assert made["samples"] is source["samples"]
    assert made["batch_index"][:LENGTH] == [20, 21, 22, 23]
    assert set(made["batch_index"]) == {20, 21, 22, 23}
    assert source["batch_index"][-1] == 20 + FRAMES - 1


def test_ksampler_starts_from_it():
    positive, negative = [[world.text(world.PROMPT), {}]], [[world.text(""), {}]]
    model, made = world.plain(), freed(latent())
    (clip,) = nodes.KSampler().sample(
        model, SEED, 2, 2.0, "euler", "normal", positive, negative, made
    )
    by_hand = comfy.sample.sample(
        model, noise_of(made), 2, 2.0, "euler", "normal", positive, negative, made["samples"],
        seed=SEED,
    )  # fmt: skip  # many short values, several a line
    assert torch.equal(clip["samples"], by_hand)
    # Without a motion module a frame is its noise alone: the same noise gives the same picture.
    pairs = [(i, made["batch_index"].index(n)) for i, n in enumerate(made["batch_index"])]
    assert all(world.difference(clip["samples"][i], clip["samples"][j]) < 1e-5 for i, j in pairs)


def test_windows_that_cannot_advance_are_refused():
    with pytest.raises(UserError, match=r"overlap of 4 frames.*less than the length"):
        FreeNoise.execute(latent(), 4, 4, 0)
