"""Motion modules that are passed by: the image model, in one network with clips."""

from dataclasses import replace

import torch
from diffusers import UNet2DConditionModel

from helpers import small
from helpers.small import (
    FRAMES,
    clip_inputs,
    new_unet,
    weights,
)
from still_moving.training.network.switch import TemporalSwitch
from still_moving.training.network.unet import predict
from still_moving.training.recipes.recipe import Source
from still_moving.training.stage.draws import Draw


def test_temporal_bypass_is_the_image_model_bit_for_bit():
    """Against diffusers' own UNet of images, on the same weights."""
    unet = new_unet()
    noisy, t, text = clip_inputs()
    config = unet.config
    names = ("block_out_channels", "layers_per_block", "cross_attention_dim")
    image_model = UNet2DConditionModel(
        **{name: config[name] for name in names},
        attention_head_dim=config["num_attention_heads"],
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )
    layout = weights().layout
    state = {layout.to_diffusers(k): v for k, v in weights().tensors.items()}
    image_model.load_state_dict(state, strict=True)
    with torch.no_grad():
        frames = [noisy[:, :, i : i + 1] for i in range(FRAMES)]
        with_time = predict(unet, frames[0], t, text)
        TemporalSwitch(unet, on=False)
        for frame in frames:
            ours = predict(unet, frame, t, text)
            assert torch.equal(ours[:, :, 0], image_model(frame[:, :, 0], t, text).sample)
        assert not torch.allclose(with_time, predict(unet, frames[0], t, text), atol=1e-3)


def test_a_bypassed_clip_is_its_frames():
    unet = new_unet()
    TemporalSwitch(unet, on=False)
    noisy, t, text = clip_inputs()
    with torch.no_grad():
        whole = predict(unet, noisy, t, text)
        for i in range(FRAMES):
            one = predict(unet, noisy[:, :, i : i + 1], t, text)
            assert torch.allclose(whole[:, :, i : i + 1], one, atol=1e-5)


def test_pictures_pass_time_by_and_clips_do_not_in_one_stage():
    """Interleaved training, the baseline of Still-Moving: each sample sees the network it needs."""
    recipe = small.spatial_recipe(sites="all", motion_adapter=False)
    sources = (Source("customized", "frame"), Source("natural", "clip"))
    recipe = replace(recipe, stages=(replace(recipe.stages[0], sources=sources),))
    training = small.new_training(recipe)
    draw = Draw(source=0, item=0, timestep=500, noise_seed=3, frame=0.4)
    held = training.learned_items
    losses = {}
    for source in (0, 1, 0):
        here = replace(draw, source=source)
        losses.setdefault(source, []).append(training.draw_loss(here, held[source]).item())
    assert losses[0][0] == losses[0][1]
    # Other temporal layers change what clips see, and nothing of what pictures see.
    for name, parameter in training.unet.named_parameters():
        if "motion_modules" in name:
            parameter.data = 1.5 * parameter.data  # not in place: other tests share the tensors
    assert training.draw_loss(draw, held[0]).item() == losses[0][0]
    assert training.draw_loss(replace(draw, source=1), held[1]).item() != losses[1][0]
