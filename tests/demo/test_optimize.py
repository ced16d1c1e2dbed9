"""A long training goes on where it was cut, and ends with its minutes."""

import math

import pytest
import torch
from torch import nn

from still_moving.demo.optimize import Keep, optimize

STEPS = 6


class Cut(Exception):
    pass


def train(keep=None, cut_at=None, steps=STEPS):
    torch.manual_seed(0)
    model, generator = nn.Linear(3, 1), torch.Generator().manual_seed(0)
    if keep is not None:
        keep.generators = (generator,)
    drawn = 0

    def loss():
        nonlocal drawn
        if drawn == cut_at:
            raise Cut
        drawn += 1
        return model(torch.randn(4, 3, generator=generator)).square().mean()

    average = optimize(model, loss, steps=steps, lr=0.1, ema=0.5, label="", keep=keep)
    return drawn, [*model.parameters(), *average.module.parameters()]


def test_what_was_cut_ends_as_what_was_not(tmp_path):
    path = tmp_path / "kept.pt"
    _, whole = train()
    with pytest.raises(Cut):
        train(Keep(path, (), every_s=0.0), cut_at=4)
    drawn, rest = train(Keep(path, (), every_s=0.0))
    assert drawn == STEPS - 4
    for ours, theirs in zip(rest, whole, strict=True):
        assert torch.equal(ours, theirs)
    assert train(Keep(path, ()))[0] == 0  # it is finished


def test_it_ends_with_its_minutes(tmp_path):
    keep = Keep(tmp_path / "kept.pt", (), minutes=0.001)
    drawn, _ = train(keep, steps=10**9)
    assert 0 < drawn < 10**6
    assert keep.share >= 1
    assert math.isfinite(keep.seconds)
