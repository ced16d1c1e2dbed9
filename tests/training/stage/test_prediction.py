"""Training for an image model that predicts v: the loss, the previews and the inversion of v."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from helpers.small import (
    TEXT,
    TOKENS,
    main,
    motion_recipe,
    new_job,
    new_training,
    new_unet,
    write_files,
)
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.network.inversion import network_of
from still_moving.training.network.sampling import denoise
from still_moving.training.network.unet import SCHEDULE, predict, schedule_of
from still_moving.training.recipes.methods import vmc
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.stage.draws import Draw
from still_moving.training.stage.losses import Velocity, draw_noise, residual_cosine, stage_loss
from still_moving.training.stage.views import seen
from still_moving.training.worker.failure import USER_ERROR
from still_moving.training.worker.session import run_job

TIMES = [0, 321, 999]
both = pytest.mark.parametrize("zero_snr", [False, True])


def scheduler(zero_snr=False) -> Any:
    return DDPMScheduler(
        **SCHEDULE, prediction_type="v_prediction", rescale_betas_zero_snr=zero_snr
    )


@both
@pytest.mark.parametrize("t", TIMES)
def test_the_loss_of_a_step_is_that_of_diffusers_velocity(zero_snr, t):
    recipe = motion_recipe(prediction="v_prediction", zero_snr=zero_snr)
    training = new_training(recipe)
    draw = Draw(source=0, item=0, frame=0.5, timestep=t, noise_seed=7)
    item = training.learned_items[0][0]
    ours = training.draw_loss(draw, training.learned_items[0])

    clean = seen(item.latents, training.stage.sources[0], draw, recipe.frames)
    noise = draw_noise(tuple(clean.shape), 7, training.stage.noise.offset)
    at = torch.tensor([t])
    theirs = scheduler(zero_snr)
    predicted = predict(training.unet, theirs.add_noise(clean, noise, at), at, item.text[None])
    expected = F.mse_loss(predicted, theirs.get_velocity(clean, noise, at))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    if t > 100:  # what it was before: a prediction of v, held against noise
        assert ours.item() != pytest.approx(F.mse_loss(predicted, noise).item(), rel=1e-4)


@both
@pytest.mark.parametrize("t", TIMES)
def test_a_true_velocity_means_the_true_noise(zero_snr, t):
    generator = torch.Generator().manual_seed(t)
    clean, noise = torch.randn(2, 1, 4, 3, 5, 5, generator=generator)
    at, theirs = torch.tensor([t]), scheduler(zero_snr)
    velocity = theirs.get_velocity(clean, noise, at)
    kept = float(theirs.alphas_cumprod[t])
    found = Velocity(velocity, theirs.add_noise(clean, noise, at), kept).noise(velocity)
    assert torch.allclose(found, noise, atol=1e-5)


def test_losses_of_residuals_are_of_the_noise_that_v_means():
    generator = torch.Generator().manual_seed(3)
    clean, noise, predicted = torch.randn(3, 1, 4, 3, 5, 5, generator=generator)
    at, theirs = torch.tensor([400]), scheduler()
    velocity = Velocity(
        theirs.get_velocity(clean, noise, at), theirs.add_noise(clean, noise, at),
        float(theirs.alphas_cumprod[400]),
    )  # fmt: skip  # the target, what was seen
    stage = replace(vmc().stages[0], mse_weight=0.5)
    assert stage.loss == "residual_cosine"
    expected = residual_cosine(velocity.noise(predicted), noise)
    expected = expected + 0.5 * F.mse_loss(predicted, velocity.target)
    assert torch.allclose(stage_loss(stage, predicted, noise, velocity), expected)
    assert stage_loss(stage, velocity.target, noise, velocity).item() == pytest.approx(0, abs=1e-5)


@both
@pytest.mark.parametrize("steps", [4, 12, 20])
def test_a_network_that_knows_v_finds_the_picture(zero_snr, steps):
    picture = torch.linspace(-1, 1, 64)
    alphas = DDIMScheduler(**schedule_of("v_prediction", zero_snr)).alphas_cumprod

    def truth(noisy, timesteps, _text):
        kept = alphas[timesteps[0]]
        # v by the clean picture and what is seen: (sqrt(kept) noisy - clean) / sqrt(1 - kept).
        return (kept.sqrt() * noisy - picture) / (1 - kept).sqrt()

    text = torch.zeros(3, 1, 1)
    samples = denoise(
        truth, text, text[0], seeds=range(3), size=(64,), steps=steps, cfg=1.0,
        schedule=schedule_of("v_prediction", zero_snr),
    )  # fmt: skip  # what is made, then how
    assert torch.allclose(samples, picture.expand_as(samples), atol=1e-4)


def test_inversion_reads_v_as_noise():
    text = torch.randn(TOKENS, TEXT, generator=torch.Generator().manual_seed(0))
    unet, x = new_unet(), torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    at = torch.tensor([50, 700])
    v = network_of(unet, text)(x, at)
    kept = DDIMScheduler(**SCHEDULE).alphas_cumprod[at][:, None, None, None, None]
    expected = kept.sqrt() * v + (1 - kept).sqrt() * x
    assert torch.allclose(network_of(unet, text, "v_prediction")(x, at), expected)


# ---------------------------------------------------------------------------- recipes and jobs
def test_recipes_say_it_only_where_it_is_not_the_noise():
    assert not {"prediction", "zero_snr"} & json.loads(motion_recipe().to_json()).keys()
    recipe = motion_recipe(prediction="v_prediction", zero_snr=True)
    assert Recipe.from_json(recipe.to_json()) == recipe
    job = Job("a", recipe, "", "", {})
    assert Job.from_json(job.to_json()) == job
    assert "prediction" not in Job("a", motion_recipe(), "", "", {}).to_json()
    with pytest.raises(UserError, match="zero_snr = True"):
        motion_recipe(zero_snr=True)
    with pytest.raises(UserError, match="expected one of 'epsilon', 'v_prediction'"):
        Recipe.from_json(motion_recipe(prediction="sample").to_json())


@pytest.fixture
def marked(tmp_path):
    """Files of a job whose checkpoint says that it predicts v, on a schedule to pure noise."""
    files = write_files(tmp_path)
    tensors = {name: tensor.clone() for name, tensor in load_file(files["checkpoint"]).items()}
    marks = {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    save_file(tensors | marks, files["checkpoint"])
    return files


@pytest.mark.slow
def test_the_worker_trains_no_noise_on_a_checkpoint_of_v(tmp_path, marked):
    job = new_job(tmp_path / "job", motion_recipe(), marked)
    assert run_job(job) == USER_ERROR
    assert "a checkpoint that predicts v" in job.read_state().message
    assert "as the recipe says" in job.read_state().message


SHORT = ("--steps", 1, "--frames", 3, "--rank", 2, "--tier", "none", "--dtype", "float32")


def train(tmp_path, files, *more):
    code, _ = main(
        "train", "motion", tmp_path / "job", "--checkpoint", files["checkpoint"],
        "--motion-module", files["motion_module"], "--frames-set", files["frames"], "--json",
        "--device", "cpu", *more,
    )  # fmt: skip  # the files, then how
    return code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), ("v_prediction", True)),
        (("--prediction", "v_prediction"), ("v_prediction", False)),
    ],
    ids=["as the file says", "as the command says"],
)
def test_the_command_trains_in_what_the_checkpoint_predicts(tmp_path, marked, more, expected):
    assert train(tmp_path, marked, *SHORT, *more) == 0
    recipe = JobFolder(tmp_path / "job").load().recipe
    assert (recipe.prediction, recipe.zero_snr) == expected


@pytest.mark.slow
@pytest.mark.parametrize("more", [(*SHORT, "--prediction", "epsilon"), ("--recipe", "{recipe}")])
def test_another_prediction_is_refused_before_there_is_a_job(tmp_path, marked, more, capsys):
    (tmp_path / "r.json").write_text(motion_recipe().to_json(), encoding="utf-8")
    more = [str(part).replace("{recipe}", str(tmp_path / "r.json")) for part in more]
    assert train(tmp_path, marked, *more) == 2
    assert "a checkpoint that predicts v" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()


@pytest.mark.slow
def test_diffusers_settings_are_honoured(tmp_path, capsys):
    files = write_files(tmp_path)
    scheduler(zero_snr=True).save_pretrained(tmp_path / "scheduler")
    settings = tmp_path / "scheduler" / "scheduler_config.json"
    assert train(tmp_path, files, *SHORT, "--scheduler", settings) == 0
    recipe = JobFolder(tmp_path / "job").load().recipe
    assert (recipe.prediction, recipe.zero_snr) == ("v_prediction", True)
    DDPMScheduler(prediction_type="sample").save_pretrained(tmp_path / "scheduler")
    (tmp_path / "again").mkdir()
    assert train(tmp_path / "again", files, *SHORT, "--scheduler", settings) == 2
    assert "prediction_type 'sample'" in capsys.readouterr().err
