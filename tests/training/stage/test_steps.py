"""Steps that are read late are the steps read at once, and nobody waits for a number."""

import dataclasses
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.small import (
    curve,
    differences,
    learned,
    motion_recipe,
    new_job,
    new_training,
    spatial_recipe,
    write_files,
)
from still_moving.training.network import compiling
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

KINDS = ("motion", "spatial")


def numbers(steps) -> list:
    return [dataclasses.replace(step, seconds=0.0, loss=str(step.loss)) for step in steps]


@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("behind", [1, 3])
def test_steps_read_late_are_the_steps_read_at_once(behind, spoiled, monkeypatch):
    from helpers import small

    copies = {
        name: dataclasses.replace(
            shared,
            items=tuple(dataclasses.replace(i, latents=i.latents.clone()) for i in shared.items),
        )
        for name, shared in small.sets().items()
    }
    monkeypatch.setattr(small, "sets", lambda: copies)
    for item in copies["frames"].items[:spoiled]:
        item.latents[...] = math.nan
    at_once, late = new_training(motion_recipe(ema=0.9)), new_training(motion_recipe(ema=0.9))
    expected = [at_once.advance() for _ in range(6)]
    read = []
    for n in range(6):
        late.launch()
        read += late.read(behind)
        assert len(read) == max(0, n + 1 - behind)
    read += late.read()
    assert [step.skipped for step in read].count(True) == 2 * spoiled
    # NaN is not itself, so a loss that is none is compared by its name.
    plain = [dataclasses.replace(s, loss_average=0.0, grad_norm=0.0) for s in numbers(expected)]
    assert [dataclasses.replace(s, loss_average=0.0, grad_norm=0.0) for s in numbers(read)] == plain
    assert str([s.loss_average for s in read]) == str([s.loss_average for s in expected])
    assert str([s.grad_norm for s in read]) == str([s.grad_norm for s in expected])
    ours, theirs = late.checkpoint(), at_once.checkpoint()
    for part in ("tensors", "optimizer", "average"):
        assert differences(getattr(ours, part), getattr(theirs, part)) == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [1, 4])
def test_a_worker_ahead_of_its_device_reports_and_keeps_the_same(
    tmp_path, files, monkeypatch, ahead
):
    recipe = motion_recipe(held_out_every=3, save_every=4, steps=7)
    jobs = [new_job(tmp_path / str(n), recipe, files) for n in (0, ahead)]
    assert run_job(jobs[0]) == FINISHED
    monkeypatch.setitem(compiling.AHEAD, "cpu", ahead)
    assert run_job(jobs[1]) == FINISHED
    events = [[(e["event"], e["step"]) for e in job.read_events()] for job in jobs]
    assert events[0] == events[1]
    assert curve(jobs[0]) == curve(jobs[1])
    assert differences(learned(jobs[0]), learned(jobs[1])) == []


class AsksForNumbers(TorchDispatchMode):
    """Counts the questions for which a host would have to wait for a card."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default or "nonzero" in str(func):
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("recipe", [motion_recipe(ema=0.9), spatial_recipe()], ids=KINDS)
def test_a_step_asks_the_device_for_no_number(recipe):
    training = new_training(recipe)
    training.advance()
    with AsksForNumbers() as mode:
        training.launch()
        training.launch()
    assert mode.waits == []
    with AsksForNumbers() as mode:
        assert len(list(training.read())) == 2
        assert bool(training.unet.conv_in.weight.isfinite().all())
    assert mode.waits  # a question is seen
