"""What a MODEL predicts is kept by a motion module's schedule, and trained in; or it is refused."""

import itertools

import pytest
import torch
from comfy_extras import nodes_model_advanced as advanced
from diffusers import DDPMScheduler

from helpers.host import world
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.prediction import Prediction
from still_moving.adapters.host.motion_module import apply_motion_module
from still_moving.adapters.host.noise_schedule import prediction_of
from still_moving.common.errors import UserError
from still_moving.nodes.shared import baking, writer
from still_moving.training.network.unet import schedule_of

pytestmark = pytest.mark.every_comfyui

SIGMAS = torch.tensor([0.05, 1.0, 14.0])


def behind(sampling, zsnr=False):
    """A MODEL behind ComfyUI's node ModelSamplingDiscrete."""
    return advanced.ModelSamplingDiscrete().patch(world.plain(), sampling, zsnr)[0]


def sampling(model):
    return model.get_model_object("model_sampling")


def tensors():
    return torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", ["auto", "AnimateDiff"])
@pytest.mark.parametrize(
    ("kind", "zsnr"), itertools.product(["eps", "v_prediction", "x0"], [False, True])
)
def test_what_is_predicted_stays_what_it_was(schedule, kind, zsnr):
    model = behind(kind, zsnr)
    moving = apply_motion_module(model, world.motion_module(), schedule)
    output, given = tensors()
    before, after = sampling(model), sampling(moving)
    expected = before.calculate_denoised(SIGMAS, output, given)
    assert torch.equal(after.calculate_denoised(SIGMAS, output, given), expected)
    assert (float(after.sigma_max) > 1000) == zsnr
    again = apply_motion_module(moving, world.motion_module(), schedule)
    assert torch.equal(sampling(again).sigmas, after.sigmas)
    assert torch.equal(sampling(again).calculate_denoised(SIGMAS, output, given), expected)


def test_lcm_keeps_its_boundary_and_its_timesteps():
    model = behind("lcm")
    after = sampling(apply_motion_module(model, world.motion_module()))
    assert len(after.sigmas) == len(sampling(model).sigmas) == 50
    output, given = tensors()
    sigmas = after.sigmas[[3, 20, 49]]
    assert torch.equal(
        after.calculate_denoised(sigmas, output, given),
        advanced.LCM.calculate_denoised(after, sigmas, output, given),
    )


def test_animatelcm_on_a_model_of_v_is_lcm_around_v():
    moving = apply_motion_module(behind("v_prediction"), world.motion_module(), "AnimateLCM")
    after, (output, given) = sampling(moving), tensors()
    sigmas = after.sigmas[[3, 50, 99]]
    # LCM with the epsilon that this v means: (x - clean) / sigma.
    wide = sigmas[:, None, None, None]
    clean = given / (wide**2 + 1) - output * wide / (wide**2 + 1) ** 0.5
    expected = advanced.LCM.calculate_denoised(after, sigmas, (given - clean) / wide, given)
    assert torch.allclose(
        after.calculate_denoised(sigmas, output, given), expected, rtol=1e-4, atol=1e-5
    )


FLOWS = {
    "img_to_img": lambda: behind("img_to_img"),
    "edm": lambda: continuous("edm"),
    "continuous v": lambda: continuous("v_prediction"),
    "continuous eps": lambda: continuous("eps"),
    "cosmos": lambda: continuous("cosmos_rflow"),
    "ContinuousV": lambda: advanced.ModelSamplingContinuousV().patch(
        world.plain(), "v_prediction", 500.0, 0.03
    )[0],
    "StableCascade": lambda: advanced.ModelSamplingStableCascade().patch(world.plain(), 2.0)[0],
    "SD3": lambda: advanced.ModelSamplingSD3().patch(world.plain(), 3.0)[0],
    "Flux": lambda: advanced.ModelSamplingFlux().patch(world.plain(), 1.15, 0.5, 512, 512)[0],
}  # fmt: skip  # what it is called, how it is made


def continuous(kind):
    node = advanced.ModelSamplingContinuousEDM()
    return node.patch(world.plain(), kind, 120.0, 0.002)[0]


@pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
def test_other_ways_to_sample_are_refused_or_left_alone(make):
    model = make()
    for schedule in ("auto", "AnimateDiff", "AnimateLCM"):
        with pytest.raises(UserError, match=r"sampling by (Model|Stable)"):
            apply_motion_module(model, world.motion_module(), schedule)
    kept = apply_motion_module(model, world.motion_module(), "model's own")
    assert sampling(kept) is sampling(model)
    with pytest.raises(UserError, match="expected a model that predicts epsilon or v"):
        baking.check(model)


@pytest.mark.parametrize("schedule", ["AnimateDiff", "AnimateLCM"])
@pytest.mark.parametrize("zsnr", [False, True])
def test_sampling_and_training_have_one_schedule(schedule, zsnr):
    """The numbers of both tables: sigma of every timestep that the sampler has."""
    model = behind("v_prediction", zsnr)
    own = sampling(apply_motion_module(model, world.motion_module(), schedule))
    kept = DDPMScheduler(**schedule_of("v_prediction", zsnr)).alphas_cumprod
    trained = ((1 - kept) / kept) ** 0.5
    times = own.timestep(own.sigmas).long()
    assert len(times) == (1000 if schedule == "AnimateDiff" else 100)
    last = -1 if zsnr else None  # where diffusers has no signal at all, ComfyUI has almost none
    assert torch.allclose(own.sigmas[:last], trained[times[:last]], rtol=2e-4)
    assert times[-1] == 999
    if not zsnr:
        assert float(own.sigma_max) == pytest.approx(25.15, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "zsnr", "expected"),
    [
        ("eps", False, {}),
        ("lcm", False, {}),
        ("v_prediction", False, {"prediction": "v_prediction", "zero_snr": False}),
        ("v_prediction", True, {"prediction": "v_prediction", "zero_snr": True}),
    ],
)
def test_training_takes_it_from_the_model(kind, zsnr, expected):
    model = behind(kind, zsnr)
    assert baking.predicted(model) == expected
    assert ("predicts: v_prediction" in " ".join(baking.check(model))) == bool(expected)
    assert baking.predicted(apply_motion_module(model, world.motion_module())) == expected
    path = baking.bake(model)
    writer.finish()
    said = read_unet(path).prediction
    assert said == (Prediction(prediction_of(model).kind, zsnr) if expected else None)


def test_x0_is_sampled_and_not_trained():
    with pytest.raises(UserError, match="sampling by ModelSamplingDiscrete with X0"):
        baking.predicted(behind("x0"))
