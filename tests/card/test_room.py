"""Room on a card: told before a step, given back after a failed one, and never lacking half-way."""

import gc
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from helpers import card
from helpers.card.library import card as machine
from helpers.pack import ROOT
from helpers.small import (
    differences,
    environment,
    motion_recipe,
    new_training,
    new_unet,
    sets,
    spatial_recipe,
    training_set,
    weights,
)
from still_moving.benchmarks.training import loops
from still_moving.training.network.tiers import TIERS
from still_moving.training.stage.draws import training_draw
from still_moving.training.stage.dry_run import step_peak
from still_moving.training.stage.loop import StageTraining

CUDA = torch.device("cuda", 0)
WHOLE = spatial_recipe(sites="all", motion_adapter=False, natural_clips=False, ema=0.9, frames=8)


def larger(recipe) -> StageTraining:
    """Of a size at which features, too, hold memory."""
    clips = {name: training_set("clips", frames=9, size=16) for name in sets()}
    return StageTraining(recipe, 0, new_unet(device=CUDA), weights().layout, clips)


def held() -> int:
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


@pytest.mark.parametrize(
    ("kind", "dtype", "size"),
    [
        ("motion", torch.bfloat16, loops.Size(10, 6, 64)),
        ("spatial", torch.float16, loops.Size(10, 4, 64)),
    ],
    ids=["motion", "spatial"],
)
def test_each_tier_takes_what_the_dry_run_tells(kind, dtype, size, note_difference):
    """SD1.5's layers, narrow; torch's own accounting of what it gave."""
    training = loops.new_training(kind, size, CUDA, dtype)
    for tier in TIERS:
        told = step_peak(training, training.tiers, tier)
        training.tiers.set(tier)
        before = held()
        torch.cuda.reset_peak_memory_stats()
        training._gradients()
        taken = torch.cuda.max_memory_allocated() - before
        training.optimizer.zero_grad(set_to_none=True)
        note_difference("peak of a step, told and taken", abs(told - taken) / taken)
        assert told == pytest.approx(taken, rel=0.1), tier


@pytest.mark.parametrize("where", ["gradients", "norm"])
def test_a_failed_step_is_given_back_before_it_is_repeated(where, monkeypatch):
    """By a traceback it would be kept alive: the next tier would have to fit beside it."""
    training = larger(motion_recipe(frames=8))
    training.advance()
    before, kept, seen = held(), torch.cuda.memory_reserved(), []
    part = {"gradients": "_accumulate", "norm": "_settle"}[where]
    whole, choose = getattr(training, part), training.tiers.set

    def fails_at_first(*arguments):
        made = whole(*arguments) if seen else training.draw_loss(draw, training.learned_items[0])
        if not seen:
            torch.empty(1 << 40, dtype=torch.uint8, device=CUDA)
        return made

    def note(tier):
        seen.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
        choose(tier)

    draw = training_draw(0, 0, training.stage, [3], 1)
    monkeypatch.setattr(training, part, fails_at_first)
    monkeypatch.setattr(training.tiers, "set", note)
    assert training.advance().tier == "top"
    ((allocated, reserved),) = seen
    assert allocated <= before + 4096  # the numbers of a step
    assert reserved <= kept + (2 << 20)  # the block that those are in


def test_a_first_step_on_a_nearly_full_card_moves_a_tier_up_and_is_the_step():
    undisturbed = larger(WHOLE)
    expected = undisturbed.advance()
    need = {tier: step_peak(undisturbed, undisturbed.tiers, tier) for tier in TIERS}
    values = {n: p.detach().cpu() for n, p in undisturbed.trainable.parameters.items()}
    del undisturbed
    training = larger(WHOLE)
    free = (need["none"] + need["two"]) // 2
    with card.crowded(free=free):
        step = training.advance()
    assert step.tier != "none"
    assert (step.loss, step.grad_norm) == (expected.loss, expected.grad_norm)
    own = {n: p.detach().cpu() for n, p in training.trainable.parameters.items()}
    assert differences(values, own) == []


def test_the_automatic_tier_fits_at_once():
    """AdamW's state is there when it is chosen, so nothing is refused in the first step."""
    probe = larger(replace(WHOLE, tier="none"))
    need = step_peak(probe, probe.tiers, "two")
    del probe
    training = larger(replace(WHOLE, tier="auto"))
    held()
    with card.crowded(free=int(1.15 * need) + (258 << 20)):
        refused = machine().counters.refused
        step = training.advance()
        assert machine().counters.refused == refused
    assert step.tier == "two"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_update_allocates_nothing(dtype):
    training = new_training(spatial_recipe(sites="all", ema=0.9), dtype, CUDA)
    losses = training._gradients()
    _, stop, weight = training._settle(0.0, losses)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    training._update(stop, weight)
    training.scaler.update()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


ASK = """
import torch
from helpers.pack import load_pack
load_pack()
from still_moving.training.checks.device import pick_dtype
print(pick_dtype("auto", torch.device("cuda")))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "dtype"), [("7.5", "torch.float16"), ("8.0", "torch.bfloat16")]
)
def test_a_card_before_ampere_trains_in_float16(capability, dtype):
    own = card.environment(capability=capability)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{ASK}"],
        env=environment(**own), capture_output=True, text=True, timeout=120,
        encoding="utf-8",
    )  # fmt: skip  # what is run, then how
    assert done.stdout.split() == [dtype], done.stderr[-1000:]
