"""A stage's steps: what they change, that they repeat, and what happens when they fail."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.small import (
    FRAMES,
    differences,
    motion_recipe,
    new_training,
    sets,
    spatial_recipe,
)
from still_moving.common.errors import UserError
from still_moving.training.network.lora import set_motion_scale
from still_moving.training.network.unet import predict
from still_moving.training.stage.checkpoints import load_checkpoint, save_checkpoint
from still_moving.training.stage.draws import training_draw
from still_moving.training.stage.loop import StageTraining
from still_moving.training.stage.losses import draw_noise

RECIPES = {
    "motion": motion_recipe(),
    "layers": spatial_recipe(),
    "blocks": spatial_recipe(sites="blocks"),
    "all spatial weights": spatial_recipe(sites="all"),
    "no motion adapter": spatial_recipe(motion_adapter=False),
    "no natural clips": spatial_recipe(natural_clips=False),
    "prior at scale 1": spatial_recipe(prior_scale=1.0),
}


def state(training: StageTraining) -> dict[str, Tensor]:
    """Everything in the network and beside it, by name."""
    spatial = training.trainable.spatial
    own = {} if spatial is None else {f"own.{k}": v for k, v in spatial.state_dict().items()}
    return {k: v.detach().clone() for k, v in {**training.unet.state_dict(), **own}.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_only_the_named_parameters_train(name):
    training = new_training(RECIPES[name])
    before = state(training)
    trained = {k: v.clone() for k, v in training.trainable.parameters.items()}
    for _ in range(3):
        assert not training.advance().skipped
    assert set(differences(trained, training.trainable.parameters)) == set(trained)
    changed = set(differences(before, state(training)))
    kinds = {
        "motion": lambda n: "motion_modules" in n and ("lora_A" in n or "lora_B" in n),
        "all spatial weights": lambda n: "motion_modules" not in n,
    }
    expected = {n for n in before if kinds.get(name, lambda n: n.startswith("own."))(n)}
    assert changed == expected
    assert len(expected) == len(trained)


def test_the_loss_is_that_of_the_method():
    """One step of the Spatial Adapter by hand: view, noise, schedule, scale, mean square."""
    training = new_training(spatial_recipe())
    seed, sizes = training.recipe.seed, [3, 3]
    for n, (name, scale) in enumerate((("customized", 1.0), ("natural", 0.0))):
        draw = training_draw(seed, 0, training.stage, sizes, n)
        item = sets()[name].items[draw.item]
        if name == "customized":
            clip = torch.stack([item.latents[0]] * FRAMES)
        else:
            start = int(draw.frame * 2)  # four frames hold two clips of three
            clip = item.latents[start : start + FRAMES]
        clean = clip.permute(1, 0, 2, 3)[None]
        noise = draw_noise(tuple(clean.shape), draw.noise_seed, 0.1)
        betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
        kept = (1 - betas).cumprod(0)[draw.timestep]
        noisy = (kept.sqrt() * clean + (1 - kept).sqrt() * noise).float()
        set_motion_scale(training.unet, scale)
        with torch.no_grad():
            t = torch.tensor([draw.timestep])
            expected = F.mse_loss(predict(training.unet, noisy, t, item.text[None]), noise)
        set_motion_scale(training.unet, 9.0)  # the sample sets its own
        ours = training.draw_loss(draw, training.learned_items[draw.source])
        assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_is_adamw_on_the_mean_of_the_batch():
    training = new_training(motion_recipe(batch=2, lr=1e-3, clip_norm=0.01))
    values = training.trainable.parameters
    start = {n: p.detach().clone() for n, p in values.items()}
    grads = {n: torch.zeros_like(p) for n, p in values.items()}
    losses = []
    for n in range(2):
        draw = training_draw(0, 0, training.stage, [3], n)
        loss = training.draw_loss(draw, training.learned_items[0])
        losses.append(loss.item())
        of_sample = torch.autograd.grad(loss, list(values.values()))
        for name, grad in zip(values, of_sample, strict=True):
            grads[name] += grad / 2
    norm = torch.stack([grad.norm() for grad in grads.values()]).norm()
    step = training.advance()
    assert step.loss == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert step.grad_norm == pytest.approx(norm.item(), rel=1e-4)
    assert norm > 0.01
    for name, parameter in values.items():
        grad = grads[name] * 0.01 / norm
        # The first step of Adam: grad / (|grad| + eps), beside the decay.
        expected = start[name] * (1 - 1e-3 * 1e-2) - 1e-3 * grad / (grad.abs() + 1e-8)
        assert torch.allclose(parameter, expected, atol=2e-5), name


def test_short_natural_clips_are_refused_by_name():
    with pytest.raises(UserError, match=r"0\.png: found 4 frames, expected at least 5"):
        new_training(spatial_recipe(frames=5))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["motion", "layers", "all spatial weights"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, name, batch):
    recipe = dataclasses.replace(RECIPES[name], batch=batch, ema=0.9)
    whole = new_training(recipe)
    steps = [whole.advance() for _ in range(6)]
    again, resumed = [], new_training(recipe)
    for saved_at in (1, 3, 6):
        while resumed.step < saved_at:
            again.append(resumed.advance())
        save_checkpoint(tmp_path, resumed.checkpoint())
        checkpoint = load_checkpoint(tmp_path)
        assert checkpoint is not None
        torch.manual_seed(saved_at)  # nothing may draw from it
        resumed = new_training(recipe)
        resumed.restore(checkpoint)
    for one, other in zip(steps, again, strict=True):
        same = {"seconds": 0.0}
        assert dataclasses.replace(one, **same) == dataclasses.replace(other, **same)
    ours, theirs = whole.checkpoint(), resumed.checkpoint()
    for part in ("tensors", "optimizer", "average"):
        assert differences(getattr(ours, part), getattr(theirs, part)) == []
        assert getattr(ours, part)
    assert ours.meta == theirs.meta
    assert whole.held_out_loss() == resumed.held_out_loss()


def test_a_checkpoint_of_another_network_is_refused():
    checkpoint = new_training(motion_recipe(rank=3)).checkpoint()
    with pytest.raises(UserError, match="another network"):
        new_training(motion_recipe()).restore(checkpoint)


def test_the_average_of_the_weights_is_what_is_kept():
    training = new_training(motion_recipe(ema=0.75))
    expected = {n: p.detach().clone() for n, p in training.trainable.parameters.items()}
    for _ in range(3):
        training.advance()
        for name, parameter in training.trainable.parameters.items():
            expected[name] = 0.75 * expected[name] + 0.25 * parameter.detach()
    for name, value in training.values().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
        assert not torch.equal(value, training.trainable.parameters[name])
    plain = new_training(motion_recipe())
    plain.advance()
    assert differences(plain.values(), plain.trainable.parameters) == []
