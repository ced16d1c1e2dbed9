"""AdamW's state: there before the first step, and kept by name."""

import torch

from helpers.small import differences, motion_recipe, new_training
from still_moving.training.stage.optimizer import (
    make_state,
    optimizer_tensors,
    restore_optimizer,
)


def test_the_state_is_there_before_the_first_step_and_changes_nothing():
    training, plain = new_training(motion_recipe()), new_training(motion_recipe())
    values = list(plain.trainable.parameters.values())
    assert {id(p) for p in training.optimizer.state} == {
        id(p) for p in training.trainable.parameters.values()
    }
    assert differences(training.trainable.parameters, plain.trainable.parameters) == []
    assert all(not v.any() for entry in training.optimizer.state.values() for v in entry.values())
    assert all(p.grad is None for p in training.trainable.parameters.values())
    decay = plain.recipe.weight_decay
    plain.optimizer = torch.optim.AdamW(values, lr=plain.stage.lr, weight_decay=decay, fused=True)
    assert not plain.optimizer.state  # as torch makes it: in the first step
    for _ in range(2):
        training.advance()
        plain.advance()
    assert differences(training.trainable.parameters, plain.trainable.parameters) == []


def test_an_optimizers_state_is_tensors_by_name():
    def new():
        torch.manual_seed(0)
        values = [torch.nn.Parameter(torch.randn(3)) for _ in range(2)]
        optimizer = torch.optim.AdamW(values, lr=0.1, fused=True)
        make_state(optimizer)
        return values, optimizer

    def step(values, optimizer):
        for i, value in enumerate(values):
            value.grad = value.detach() * (i + 1)
        optimizer.found_inf = torch.zeros(())
        optimizer.step()

    values, optimizer = new()
    step(values, optimizer)
    tensors = optimizer_tensors(optimizer, ["a:b", "c"])
    assert {"a:b:step", "a:b:exp_avg", "c:exp_avg_sq"} <= set(tensors)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    others, other = new()
    for mine, value in zip(others, values, strict=True):
        mine.data.copy_(value)
    restore_optimizer(other, ["a:b", "c"], tensors)
    step(values, optimizer)
    step(others, other)
    assert all(map(torch.equal, others, values))
