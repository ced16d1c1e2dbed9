"""A stage's steps: what they change, that they repeat, and what happens when they fail."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.small import (
    FRAMES,
    differences,
    motion_recipe,
    new_run,
    new_unet,
    sets,
    spatial_recipe,
    training_set,
    weights,
)
from still_moving.common.errors import UserError
from still_moving.training.network.lora import set_motion_scale
from still_moving.training.network.unet import predict
from still_moving.training.stage.checkpoints import load_checkpoint, save_checkpoint
from still_moving.training.stage.draws import held_out_draws, training_draw
from still_moving.training.stage.loop import StageTraining
from still_moving.training.stage.losses import draw_noise
from still_moving.training.stage.views import view

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


@pytest.mark.parametrize("position", [0.0, 0.34, 0.67, 0.999999])
def test_views_show_what_they_are_named_for(position):
    latents = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    frozen = view(latents, "frozen", position, 3)
    assert frozen.shape == (1, 4, 3, 2, 2)
    for frame in range(3):
        assert torch.equal(frozen[0, :, frame], latents[int(position * 6)])
    clip = view(latents, "clip", position, 3)
    start = int(position * 4)
    assert torch.equal(clip[0].transpose(0, 1), latents[start : start + 3])


def test_every_frame_of_a_clip_can_be_frozen_and_every_start_taken():
    latents = torch.arange(5.0)[:, None, None, None].expand(5, 4, 1, 1)
    spots = [i / 100 for i in range(100)]
    assert {view(latents, "frozen", p, 2)[0, 0, 0].item() for p in spots} == {0, 1, 2, 3, 4}
    assert {view(latents, "clip", p, 4)[0, 0, 0].item() for p in spots} == {0, 1}


def test_short_natural_clips_are_refused_by_name():
    with pytest.raises(UserError, match=r"0\.png: found 4 frames, expected at least 5"):
        new_run(spatial_recipe(frames=5))


def test_a_tenth_of_a_large_set_is_held_out():
    some = dict(sets())
    some["frames"] = training_set("clips", count=25)
    large = StageTraining(motion_recipe(), 0, new_unet(), weights().layout, some)
    ((training, held_out),) = large.split
    assert (len(training), len(held_out)) == (22, 3)
    ids = {item.id for item in training} | {item.id for item in held_out}
    assert len(ids) == 25
    ((training, held_out),) = new_run(motion_recipe()).split
    assert [i.id for i in training] == [i.id for i in held_out]


def test_the_held_out_loss_moves_only_with_the_weights():
    run = new_run(motion_recipe(held_out=3, lr=0.1))
    before, again = run.held_out_loss(), run.held_out_loss()
    assert before == again
    samples = held_out_draws(0, 0, [3], 3)
    by_hand = [run.draw_loss(s, run.split[0][1]).item() for s in samples]
    assert before == pytest.approx(sum(by_hand) / 3)
    run.advance()
    assert run.held_out_loss() != before


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


def failing(run: StageTraining, tiers: tuple[str, ...]) -> list[str]:
    """Make the network run out of memory while a tier is one of these; returns the tiers met."""
    met = []

    def hook(_module, _inputs) -> None:
        if torch.is_grad_enabled() and not (met and met[-1] == run.tiers.tier):
            met.append(run.tiers.tier)
        if run.tiers.tier in tiers:
            raise torch.OutOfMemoryError("out of memory, as a card says it")

    # In the up path: gradients of nothing, or of a first sample, may be there already.
    run.unet.up_blocks[1].register_forward_pre_hook(hook)
    return met


@pytest.mark.parametrize("tiers", [("none",), ("none", "top"), ("none", "top", "two")])
def test_out_of_memory_repeats_the_step_a_tier_up(tiers):
    undisturbed, run = new_run(motion_recipe(batch=2)), new_run(motion_recipe(batch=2))
    undisturbed.advance()
    run.advance()
    met = failing(run, tiers)
    expected, step = undisturbed.advance(), run.advance()
    assert step.tier == ("none", "top", "two", "all")[len(tiers)]
    assert met == [*tiers, step.tier]
    assert (step.step, step.loss, step.grad_norm) == (2, expected.loss, expected.grad_norm)
    assert differences(undisturbed.trainable.parameters, run.trainable.parameters) == []


def test_out_of_memory_between_two_samples_counts_none_twice():
    undisturbed, run = new_run(motion_recipe(batch=2)), new_run(motion_recipe(batch=2))
    calls = []

    def second_fails(_module, _inputs) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")

    run.unet.conv_in.register_forward_pre_hook(second_fails)
    assert run.advance().grad_norm == undisturbed.advance().grad_norm
    assert differences(undisturbed.trainable.parameters, run.trainable.parameters) == []


def test_out_of_memory_at_the_last_tier_says_what_there_is():
    run = new_run(motion_recipe())
    failing(run, ("none", "top", "two", "all"))
    with pytest.raises(UserError, match=rf"memory: found [\d.]+ GiB free.*{FRAMES} frames"):
        run.advance()
    assert run.step == 0


def with_nan(recipe, bad: int) -> StageTraining:
    """A run whose set holds not-a-number in the first ``bad`` items."""
    run = new_run(recipe)
    for item in run.items[0][:bad]:
        item.latents[...] = math.nan
    return run


@pytest.fixture
def own_sets(monkeypatch):
    """Sets that a test may spoil."""
    from helpers import small

    copies = {
        name: dataclasses.replace(
            made,
            items=tuple(dataclasses.replace(i, latents=i.latents.clone()) for i in made.items),
        )
        for name, made in sets().items()
    }
    monkeypatch.setattr(small, "sets", lambda: copies)


@pytest.mark.usefixtures("own_sets")
def test_steps_that_are_no_numbers_change_nothing():
    run = with_nan(motion_recipe(steps=9, ema=0.5), bad=1)
    skipped = []
    for _ in range(9):
        before = run.checkpoint()
        kept = {part: {k: v.clone() for k, v in getattr(before, part).items()}
                for part in ("tensors", "optimizer", "average")}  # fmt: skip
        average = run.loss_average
        step = run.advance()
        skipped.append(step.skipped)
        if step.skipped:
            assert math.isnan(step.loss)
            after = run.checkpoint()
            for part, tensors in kept.items():
                assert differences(tensors, getattr(after, part)) == []
            assert run.loss_average == average or math.isnan(average)
    assert skipped.count(True) == 3  # one item of three, in three rounds
    assert all(torch.isfinite(p).all() for p in run.trainable.parameters.values())


@pytest.mark.usefixtures("own_sets")
def test_ten_such_steps_in_a_row_stop_the_run():
    run = with_nan(motion_recipe(steps=50), bad=3)
    for _ in range(9):
        assert run.advance().skipped
    with pytest.raises(UserError, match="10 non-finite losses in a row"):
        run.advance()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["motion", "layers", "blocks", "all spatial weights"])
def test_half_precision_trains_fp32_values(name, dtype):
    run = new_run(RECIPES[name], dtype)
    start = {n: p.detach().clone() for n, p in run.trainable.parameters.items()}
    steps = [run.advance() for _ in range(3)]
    assert not any(step.skipped for step in steps)
    exact = new_run(RECIPES[name])
    for step in steps:
        assert step.loss == pytest.approx(exact.advance().loss, rel=0.05)
    assert {p.dtype for p in run.trainable.parameters.values()} == {torch.float32}
    assert set(differences(start, run.trainable.parameters)) == set(start)
    frozen = [p for p in run.unet.parameters() if not p.requires_grad and p.dtype != dtype]
    assert all(p.numel() <= 64 * 4 for p in frozen)  # LoRA pairs in use stay fp32


def test_fp16_scales_its_loss_and_the_scale_survives(tmp_path):
    made = motion_recipe(steps=9)
    run = new_run(made, torch.float16)
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**40})
    first = run.advance()
    assert first.skipped  # infinite gradients: the scaler backs off
    assert run.scaler.get_scale() == 2.0**39
    while (step := run.advance()).skipped:
        assert step.step < 9
        run.scaler.update(2.0**10)
    save_checkpoint(tmp_path, run.checkpoint())
    resumed = new_run(made, torch.float16)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    resumed.restore(checkpoint)
    assert resumed.scaler.get_scale() == run.scaler.get_scale() != 2.0**14
    one, other = run.advance(), resumed.advance()
    assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)
    assert differences(run.trainable.parameters, resumed.trainable.parameters) == []
    assert new_run(made).scaler.is_enabled() is False
