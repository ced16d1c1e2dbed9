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
    new_run,
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


def state(run: StageTraining) -> dict[str, Tensor]:
    """Everything in the network and beside it, by name."""
    spatial = run.trainable.spatial
    own = {} if spatial is None else {f"own.{k}": v for k, v in spatial.state_dict().items()}
    return {k: v.detach().clone() for k, v in {**run.unet.state_dict(), **own}.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_only_the_named_parameters_train(name):
    run = new_run(RECIPES[name])
    before, trained = state(run), {k: v.clone() for k, v in run.trainable.parameters.items()}
    for _ in range(3):
        assert not run.advance().skipped
    assert set(differences(trained, run.trainable.parameters)) == set(trained)
    changed = set(differences(before, state(run)))
    kinds = {
        "motion": lambda n: "motion_modules" in n and ("lora_A" in n or "lora_B" in n),
        "all spatial weights": lambda n: "motion_modules" not in n,
    }
    expected = {n for n in before if kinds.get(name, lambda n: n.startswith("own."))(n)}
    assert changed == expected
    assert len(expected) == len(trained)


def test_the_loss_is_that_of_the_method():
    """One step of the Spatial Adapter by hand: view, noise, schedule, scale, mean square."""
    run = new_run(spatial_recipe())
    seed, sizes = run.recipe.seed, [3, 3]
    for n, (name, scale) in enumerate((("customized", 1.0), ("natural", 0.0))):
        sample = training_draw(seed, 0, run.stage, sizes, n)
        item = sets()[name].items[sample.item]
        if name == "customized":
            clip = torch.stack([item.latents[0]] * FRAMES)
        else:
            start = int(sample.frame * 2)  # four frames hold two clips of three
            clip = item.latents[start : start + FRAMES]
        clean = clip.permute(1, 0, 2, 3)[None]
        noise = draw_noise(tuple(clean.shape), sample.noise_seed, 0.1)
        betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
        kept = (1 - betas).cumprod(0)[sample.timestep]
        noisy = (kept.sqrt() * clean + (1 - kept).sqrt() * noise).float()
        set_motion_scale(run.unet, scale)
        with torch.no_grad():
            t = torch.tensor([sample.timestep])
            expected = F.mse_loss(predict(run.unet, noisy, t, item.text[None]), noise)
        set_motion_scale(run.unet, 9.0)  # the sample sets its own
        ours = run.draw_loss(sample, run.split[sample.source][0])
        assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_is_adamw_on_the_mean_of_the_batch():
    run = new_run(motion_recipe(batch=2, lr=1e-3, clip_norm=0.01))
    values = run.trainable.parameters
    start = {n: p.detach().clone() for n, p in values.items()}
    grads = {n: torch.zeros_like(p) for n, p in values.items()}
    losses = []
    for n in range(2):
        sample = training_draw(0, 0, run.stage, [3], n)
        loss = run.draw_loss(sample, run.split[0][0])
        losses.append(loss.item())
        of_sample = torch.autograd.grad(loss, list(values.values()))
        for name, grad in zip(values, of_sample, strict=True):
            grads[name] += grad / 2
    norm = torch.stack([grad.norm() for grad in grads.values()]).norm()
    step = run.advance()
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
        new_run(spatial_recipe(frames=5))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["motion", "layers", "all spatial weights"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, name, batch):
    made = dataclasses.replace(RECIPES[name], batch=batch, ema=0.9)
    whole = new_run(made)
    steps = [whole.advance() for _ in range(6)]
    again, resumed = [], new_run(made)
    for saved_at in (1, 3, 6):
        while resumed.step < saved_at:
            again.append(resumed.advance())
        save_checkpoint(tmp_path, resumed.checkpoint())
        checkpoint = load_checkpoint(tmp_path)
        assert checkpoint is not None
        torch.manual_seed(saved_at)  # nothing may draw from it
        resumed = new_run(made)
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
    checkpoint = new_run(motion_recipe(rank=3)).checkpoint()
    with pytest.raises(UserError, match="another network"):
        new_run(motion_recipe()).restore(checkpoint)


def test_the_average_of_the_weights_is_what_is_kept():
    run = new_run(motion_recipe(ema=0.75))
    expected = {n: p.detach().clone() for n, p in run.trainable.parameters.items()}
    for _ in range(3):
        run.advance()
        for name, parameter in run.trainable.parameters.items():
            expected[name] = 0.75 * expected[name] + 0.25 * parameter.detach()
    for name, value in run.values().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
        assert not torch.equal(value, run.trainable.parameters[name])
    plain = new_run(motion_recipe())
    plain.advance()
    assert differences(plain.values(), plain.trainable.parameters) == []
