"""The shapes world through ComfyUI's own MODEL, CLIP, VAE and CONTROL_NET, and its core nodes."""

import logging

import comfy.hooks
import comfy.sd
import comfy.utils
import latent_preview
import pytest
import torch
from diffusers import DDPMScheduler

import nodes
from still_moving.adapters.worlds.model import load_model
from still_moving.demo import train_controlnet, world
from still_moving.demo.image_model import load_image_model, unet_layout
from still_moving.demo.measure import match, measure
from still_moving.demo.train_lora import dusk_sky
from still_moving.nodes.shared import folders
from still_moving.nodes.worlds.shapes import LoadShapesWorld
from still_moving.training.network.unet import SCHEDULE
from still_moving.worlds.known import SHAPES
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, CONTROLNET, CUSTOMIZED, LORA, LORAS, WEIGHTS

pytestmark = pytest.mark.every_comfyui

PROMPT = "red circle left night"
# Of ComfyUI's samplers at 12 steps this one draws the world best.
SAMPLER = {"sampler_name": "dpmpp_2m_sde", "scheduler": "sgm_uniform", "steps": 12, "cfg": 2.0}


@pytest.fixture(scope="module")
def loaded():
    return LoadShapesWorld.execute().result


@pytest.fixture(autouse=True)
def as_in_a_graph():
    """ComfyUI runs every node in inference mode; its tiled VAE ways work in no other."""
    with torch.inference_mode():
        yield


def encode(clip, prompt):
    return nodes.CLIPTextEncode().encode(clip, prompt)[0]


def empty(count):
    return nodes.EmptyLatentImage().generate(128, 128, count)[0]


def sample(model, clip, prompt, count=2, seed=0, **options):
    positive = options.pop("positive", None) or encode(clip, prompt)
    named = SAMPLER | options
    return nodes.KSampler().sample(
        model,
        seed,
        named["steps"],
        named["cfg"],
        named["sampler_name"],
        named["scheduler"],
        positive,
        encode(clip, ""),
        empty(count),
    )[0]


def drawn(samples):
    return latents.decode_world(samples["samples"])


def batch(count=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, 16, 16, generator=generator)
    text = latents.encode_prompt(PROMPT).expand(count, -1, -1)
    return x, torch.linspace(1, 999, count).long(), text


# ---------------------------------------------------------------------------- MODEL
@pytest.mark.parametrize("name", [BASE, CUSTOMIZED])
def test_the_model_predicts_what_the_training_network_predicts(name):
    x, t, text = batch()
    ours = load_model(WEIGHTS / name).model.diffusion_model(x, t, context=text)
    theirs = load_image_model(WEIGHTS / name).eval()(x, t, text).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_schedule_is_the_one_it_was_trained_on(loaded):
    kept = DDPMScheduler(**SCHEDULE).alphas_cumprod
    expected = ((1 - kept) / kept).sqrt()
    sigmas = loaded[0].get_model_object("model_sampling").sigmas
    torch.testing.assert_close(sigmas, expected, atol=1e-4, rtol=1e-4)


def test_comfyui_maps_every_layer_to_its_name_in_diffusers(loaded):
    model = loaded[0].model
    names = comfy.utils.unet_to_diffusers(model.model_config.unet_config)
    for name in load_image_model(WEIGHTS / BASE).state_dict():
        assert names[name] == unet_layout(SHAPES).to_ldm(name)
        assert f"diffusion_model.{names[name]}" in model.state_dict()


def test_it_draws_what_is_asked(loaded):
    base, _, clip, vae, _ = loaded
    right, fidelity = 0, 0.0
    scenes = world.spread(world.all_scenes(), 8)
    for seed, scene in enumerate(scenes):
        image = nodes.VAEDecode().decode(vae, sample(base, clip, scene.prompt, 1, seed))[0]
        pixels = image[:, ::8, ::8].movedim(-1, 1)
        measured = measure(pixels.expand(2, -1, -1, -1), scene)
        right += measured.colour and measured.shape and measured.look
        fidelity += measured.fidelity / len(scenes)
    assert right >= 7
    assert fidelity > 0.55  # the training network: 0.65


def test_two_checkpoints_side_by_side_draw_their_own_looks(loaded):
    base, customized, clip, _, _ = loaded
    scene = world.Scene("red", "circle", "left", world.STYLE_TOKEN)
    looks = [
        measure(drawn(sample(m, clip, scene.prompt))[:1].expand(2, -1, -1, -1), scene).look
        for m in (base, customized)
    ]
    assert looks == [False, True]


def test_previews_are_the_picture(loaded):
    latent_format = loaded[0].model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(latent_format.latent_rgb_factors)
    scene = world.Scene("yellow", "square", "up", "fog")
    pixels = world.render(scene, torch.tensor([8.0, 8.0]))
    preview = previewer.decode_latent_to_preview(latents.encode_world(pixels)[None])
    shown = torch.frombuffer(bytearray(preview.tobytes()), dtype=torch.uint8)
    expected = (pixels.movedim(0, -1) * 255).flatten()
    assert float((shown.float() - expected).abs().max()) <= 1
    assert latent_format.process_in(pixels) is not None
    assert torch.equal(latent_format.process_out(pixels), pixels)


# ---------------------------------------------------------------------------- CLIP
def test_words_are_the_ones_of_training(loaded):
    (cond, extra), *_ = encode(loaded[2], PROMPT)
    assert torch.equal(cond[0], latents.encode_prompt(PROMPT))
    assert not extra["pooled_output"].any()
    assert not encode(loaded[2], "")[0][0].any()


def test_a_weight_scales_its_word_alone(loaded):
    rows = latents.encode_prompt(PROMPT)
    cond = encode(loaded[2], "(red:1.5) circle left night")[0][0][0]
    torch.testing.assert_close(cond[0], 1.5 * rows[0])
    assert torch.equal(cond[1:], rows[1:])


def test_long_prompts_come_in_sections_and_sample_beside_short_ones(loaded):
    base, _, clip, _, _ = loaded
    long = "a nice picture, best quality: " + PROMPT + " \\(really\\) ((now))"
    cond = encode(clip, long)[0][0]
    assert cond.shape[1] % latents.TOKENS == 0
    assert cond.shape[1] > latents.TOKENS
    assert torch.isfinite(drawn(sample(base, clip, long, steps=2))).all()
    both = nodes.ConditioningCombine().combine(encode(clip, PROMPT), encode(clip, long))[0]
    assert torch.isfinite(drawn(sample(base, clip, "", steps=2, positive=both))).all()


def test_what_core_nodes_do_to_a_clip_does_no_harm(loaded):
    clip = nodes.CLIPSetLastLayer().set_last_layer(loaded[2], -2)[0].clone()
    assert torch.equal(encode(clip, PROMPT)[0][0], encode(loaded[2], PROMPT)[0][0])
    tokens = clip.tokenize(PROMPT, return_word_ids=True)
    assert [token[2] for token in tokens["shapes"][0]] == [1, 2, 3, 4, 0, 0]


# ---------------------------------------------------------------------------- VAE
def test_pixels_and_latents_are_exact_both_ways(loaded):
    vae = loaded[3]
    images = latents.enlarge(torch.rand(3, 3, 16, 16)).movedim(1, -1)
    encoded = nodes.VAEEncode().encode(vae, images)[0]
    assert encoded["samples"].shape == (3, 4, 16, 16)
    torch.testing.assert_close(nodes.VAEDecode().decode(vae, encoded)[0], images)
    # Tiled ways are weighted means of the same numbers.
    tiled = nodes.VAEEncodeTiled().encode(vae, images, 64, 16)[0]
    torch.testing.assert_close(tiled["samples"], encoded["samples"], atol=1e-4, rtol=1e-4)
    back = nodes.VAEDecodeTiled().decode(vae, encoded, 64, 16)[0]
    torch.testing.assert_close(back, images, atol=1e-4, rtol=1e-4)


def test_inpainting_and_odd_sizes_encode(loaded):
    mask = torch.zeros(1, 130, 135)
    mask[:, 40:80, 40:80] = 1
    image = torch.rand(1, 130, 135, 3)
    latent = nodes.VAEEncodeForInpaint().encode(loaded[3], image, mask)[0]
    assert latent["samples"].shape == (1, 4, 16, 16)
    assert torch.isfinite(latent["samples"]).all()


# ---------------------------------------------------------------------------- CONTROL_NET
def test_the_controlnet_computes_what_it_computed_in_training(loaded):
    x, t, text = batch()
    hint = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    ours = loaded[4].control_model(x, hint, t, text)
    down, middle = train_controlnet.load_controlnet(WEIGHTS / CONTROLNET).eval()(
        x, t, text, hint, return_dict=False
    )
    for a, b in zip(ours["output"] + ours["middle"], [*down, middle], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_every_frame_follows_its_own_outline(loaded):
    base, _, clip, _, control = loaded
    scene = world.Scene("green", "circle", "right", "forest")
    places = torch.tensor([[4.0, 5.0], [11.5, 4.5], [8.0, 11.0], [5.0, 10.5]])
    lines = train_controlnet.outline(
        world.render(scene._replace(look="night"), places), torch.full((4,), 0.07)
    )
    hint = train_controlnet.as_hint(lines).movedim(1, -1)
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
        encode(clip, scene.prompt), encode(clip, ""), control, hint, 1.0, 0.0, 1.0
    )
    latent = nodes.KSampler().sample(
        base, 0, 12, 2.0, "dpmpp_2m_sde", "sgm_uniform", positive, negative, empty(4)
    )[0]
    number = world.all_scenes((scene.look,)).index(scene)
    nearest = match(drawn(latent), scene.look, [number])[1][:, 0]
    assert int(((nearest - places).norm(dim=1) <= 1).sum()) >= 3


# ---------------------------------------------------------------------------- LoRA
def test_core_load_lora_uses_every_key(loaded, caplog):
    base, _, clip, _, _ = loaded
    folders.register()
    with caplog.at_level(logging.WARNING):
        model, changed = nodes.LoraLoader().load_lora(base, clip, LORA, 1.0, 1.0)
    assert "lora key not loaded" not in caplog.text
    layers = {
        k.rsplit(".", 2)[0]
        for k in comfy.utils.load_torch_file(str(LORAS / LORA))
        if "lora_up" in k
    }
    assert len(model.patches) == len(layers)
    assert torch.equal(encode(changed, PROMPT)[0][0], encode(clip, PROMPT)[0][0])

    plain = drawn(sample(base, clip, "red circle left dusk"))
    dusk = drawn(sample(model, changed, "red circle left dusk"))
    sky = dusk_sky()
    rows = [0, -1]  # that the shape hardly reaches
    error, before = ((i - sky)[..., rows, :].abs().mean() for i in (dusk, plain))
    assert error < 0.5 * before
    assert torch.equal(drawn(sample(base, clip, "red circle left dusk")), plain)


def test_a_lora_as_a_hook_equals_the_lora(loaded):
    base, _, clip, _, _ = loaded
    weights = comfy.utils.load_torch_file(str(LORAS / LORA))
    patched, _ = comfy.sd.load_lora_for_models(base, clip, weights, 1.0, 0.0)
    hooks = comfy.hooks.create_hook_lora(weights, 1.0, 0.0)
    positive = encode(clip, "red circle left dusk")
    hooked = comfy.hooks.set_hooks_for_conditioning(positive, hooks)
    empty_text = comfy.hooks.set_hooks_for_conditioning(encode(clip, ""), hooks)
    options = (0, 3, 2.0, "euler", "normal")
    expected = nodes.KSampler().sample(patched, *options, positive, encode(clip, ""), empty(2))[0]
    hooked_latent = nodes.KSampler().sample(base, *options, hooked, empty_text, empty(2))[0]
    torch.testing.assert_close(hooked_latent["samples"], expected["samples"], atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------- node
def test_the_node_has_no_inputs_and_five_outputs():
    schema = LoadShapesWorld.define_schema()
    assert schema.inputs == []
    assert [o.io_type for o in schema.outputs] == ["MODEL", "MODEL", "CLIP", "VAE", "CONTROL_NET"]
