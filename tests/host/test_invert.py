"""The start noise of a clip gives the clip back, and only clips are inverted."""

import asyncio

import pytest
import torch

import nodes
from helpers.host import world
from still_moving import comfy_entrypoint
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.demo import world as shapes_world
from still_moving.demo.measure import measure
from still_moving.nodes.clips.invert import InvertClip
from still_moving.worlds.shapes import latents

STEPS, SCHEDULER = 20, "sgm_uniform"


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


def real_clip() -> torch.Tensor:
    """(frames, height, width, 3) of the shapes world."""
    scene = shapes_world.all_scenes()[0]
    frames = shapes_world.make_clip(scene, torch.Generator().manual_seed(0)).frames
    return latents.enlarge(frames).movedim(1, -1)


def generated(
    model, start: torch.Tensor, noise: bool = False, prompt: str = "", cfg: float = 1.0
) -> torch.Tensor:
    """By KSampler (Advanced), with the settings that Invert Clip states."""
    positive, negative = ([[world.text(text), {}]] for text in (prompt, ""))
    latent = {"samples": torch.zeros_like(start) if noise else start}
    (latent,) = nodes.common_ksampler(
        model, 0, STEPS, cfg, "ddim", SCHEDULER, positive, negative, latent,
        disable_noise=not noise, start_step=0, last_step=10_000, force_full_denoise=True,
    )  # fmt: skip  # many short values, several a line
    return latent["samples"]


def test_an_inverted_clip_comes_back():
    images = real_clip()
    model, vae = world.moving(), ShapesVAE()
    clip, error = vae.encode(images), {}
    for refine in (0, 5):
        start, settings = InvertClip.execute(
            model, images, vae, load_clip(), "", STEPS, SCHEDULER, True, refine
        ).result
        assert f"steps {STEPS}" in settings
        error[refine] = world.difference(generated(model, start["samples"]), clip)
    chance = world.difference(generated(model, start["samples"], noise=True), clip)
    assert error[5] < 0.02
    assert error[5] < error[0] < chance


def test_without_its_colours_a_clip_follows_the_prompt_for_them():
    """A bright look is asked for, from the noise of a dark clip."""
    dark = shapes_world.Scene("red", "circle", "left", "night")
    frames = shapes_world.make_clip(dark, torch.Generator().manual_seed(0)).frames
    images = latents.enlarge(frames).movedim(1, -1)
    scene = dark._replace(look="sand")
    fidelity = {}
    for keep in (True, False):
        start = InvertClip.execute(
            world.moving(), images, ShapesVAE(), load_clip(), "", STEPS, SCHEDULER, keep, 0
        ).result[0]["samples"]
        clip = generated(world.moving(), start, prompt=scene.prompt, cfg=2.0)
        fidelity[keep] = measure(latents.decode_world(clip), scene).fidelity
    assert fidelity[False] > fidelity[True]


def test_only_clips_on_a_model_that_moves_are_inverted():
    images = real_clip()
    rest = (ShapesVAE(), load_clip(), "", 2, SCHEDULER, True, 0)
    with pytest.raises(UserError, match="without a motion module"):
        InvertClip.execute(world.plain(), images, *rest)
    with pytest.raises(UserError, match="one frame"):
        InvertClip.execute(world.moving(), images[:1], *rest)
