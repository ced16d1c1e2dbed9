"""What is on a node's wires as data for another process, and what makes it more than data."""

import comfy.hooks
import comfy.k_diffusion.sampling
import comfy.sd
import comfy.taesd.taesd
import pytest
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG

from helpers.host import world
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.noise_schedule import sampling_of, set_sampling, tables_of
from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
from still_moving.adapters.host.views import ViewPlan, apply_views
from still_moving.adapters.host.windows import SCHEDULES, apply_windows
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.nodes.sets.generate import GenerateImages
from still_moving.nodes.shared import places
from still_moving.training.drawing import handover
from still_moving.training.drawing.handover import NotData
from still_moving.training.drawing.sampling import conditioning_of

pytestmark = pytest.mark.every_comfyui
V = ("v_prediction", False)


def with_callback():
    model = world.plain()
    model.add_callback_with_key(CallbacksMP.ON_PRE_RUN, "another pack", lambda *_: None)
    return model


def wrapped():
    model = world.plain()
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "another pack", lambda run, *a: run(*a))
    return model


def hooked():
    model = world.plain()
    patch = {"diffusion_model.time_embed.0.weight": (torch.zeros(256, 64),)}
    model.add_hook_patches(comfy.hooks.WeightHook(1.0, 1.0), patch)
    return model


def spatial():
    return apply_spatial_adapter(world.plain(), world.spatial_adapter(), 1.0, "merged", "it")[0]


def slider():
    return apply_motion_adapter(world.moving(), world.motion_adapter(), 0.5, "it")[0]


def beside():
    model = world.plain()
    model.set_additional_models("another pack", [world.plain()])
    return model


MORE = {
    "patches of attention or blocks": lambda: FreeU_V2().patch(world.plain(), 1, 1, 1, 1)[0],
    "options of sampling": lambda: RescaleCFG().patch(world.plain(), 0.7)[0],
    "callbacks of other nodes": with_callback,
    "wrappers (another pack)": wrapped,
    "LoRA hooks": hooked,
    "a Spatial Adapter": spatial,
    "on the motion module": slider,
    "further models": beside,
    "context_handler": lambda: apply_windows(world.moving(), 4, 2, next(iter(SCHEDULES))),
    "attached to it": lambda: apply_views(world.moving(), ViewPlan(3, 1, "uniform"), 32),
    "8 bits": lambda: world.stored_as(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("what", MORE)
def test_a_model_that_is_more_than_data_is_told(what):
    with pytest.raises(NotData) as refusal:
        handover.check_model(MORE[what]())
    assert what in str(refusal.value)


def lora():
    model = world.plain()
    key = "diffusion_model.time_embed.0.weight"
    weight = model.model.state_dict()[key]
    model.add_patches({key: (torch.ones_like(weight),)}, 0.1)
    return model


DATA = {
    "plain": world.plain,
    "moving": world.moving,
    "with a LoRA": lora,
    "of v": lambda: ModelSamplingDiscrete().patch(world.plain(), *V)[0],
    "of LCM": lambda: ModelSamplingDiscrete().patch(world.moving(), "lcm", False)[0],
}


@pytest.mark.parametrize("make", DATA.values(), ids=DATA)
def test_what_samples_by_its_weights_and_tables_is_data(make):
    model, other = make(), world.plain()
    handover.check_model(model)
    handover.sampling_data(model)
    said = sampling_of(model)
    assert said is not None
    set_sampling(other, said, tables_of(model))
    noise, sigmas = torch.randn(1, 4, 8, 8), torch.tensor([0.5, 3.0])
    one, two = (it.get_model_object("model_sampling") for it in (model, other))
    assert sampling_of(other) == said
    assert torch.equal(one.timestep(sigmas), two.timestep(sigmas))
    assert torch.equal(one.sigma(torch.tensor([3.5, 800.0])), two.sigma(torch.tensor([3.5, 800.0])))
    for step in ("calculate_input", "calculate_denoised"):
        rest = (noise,) if step == "calculate_input" else (noise, 2 * noise)
        assert torch.equal(
            getattr(one, step)(sigmas[:1], *rest), getattr(two, step)(sigmas[:1], *rest)
        )


def test_other_packs_samplers_and_schedules_are_told(monkeypatch):
    for name in comfy.samplers.KSampler.SAMPLERS:
        for scheduler in comfy.samplers.KSampler.SCHEDULERS:
            handover.check_sampler(name, scheduler)
    theirs = lambda *_: None  # noqa: E731  # of this module
    monkeypatch.setattr(comfy.k_diffusion.sampling, "sample_theirs", theirs, raising=False)
    with pytest.raises(NotData, match="the sampler theirs of another pack"):
        handover.check_sampler("theirs", "normal")
    handler = comfy.samplers.SchedulerHandler(theirs)
    monkeypatch.setitem(comfy.samplers.SCHEDULER_HANDLERS, "theirs", handler)
    with pytest.raises(NotData, match="the scheduler theirs of another pack"):
        handover.check_sampler("euler", "theirs")


def test_words_are_data_and_schedules_of_a_clip_are_not():
    plain = conditioning_of(load_clip(), "red circle")
    text, pooled = handover.words_data(plain)
    assert torch.equal(text, plain[0][0])
    assert pooled is not None
    for other in ([*plain, *plain], [[text, {"pooled_output": pooled, "clip_start_percent": 0.5}]]):
        with pytest.raises(NotData, match="hooks or schedules on the CLIP"):
            handover.words_data(other)


def test_a_vae_of_another_kind_is_told():
    handover.check_vae(ShapesVAE())
    tensors = {
        name.removeprefix("taesd_"): weight
        for name, weight in comfy.taesd.taesd.TAESD().state_dict().items()
    }
    with pytest.raises(NotData, match="a VAE of another kind"):
        handover.check_vae(comfy.sd.VAE(sd=tensors))


def test_what_cannot_be_handed_over_is_drawn_at_the_press_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    cached = GenerateImages.planned(
        model=FreeU_V2().patch(world.plain(), 1.1, 1.2, 0.9, 0.2)[0], clip=load_clip(),
        vae=ShapesVAE(), prompts="red circle left night", token="", class_word="", count=1,
        negative="", seed=1, steps=2, cfg=2.0, sampler_name="euler", scheduler="normal",
        width=128, height=128,
    )  # fmt: skip  # many short values, several a line
    assert cached.is_drawn
    assert len(cached.loaded().items) == 1
    assert "Drawn while you wait: patches of attention or blocks cannot" in cached.notes[0]
