"""A run that is saved on one device and taken up on another, or on the same."""

import pytest
import torch

from helpers.small import differences, motion_recipe, new_training, spatial_recipe
from still_moving.training.stage.checkpoints import Checkpoint, load_checkpoint, save_checkpoint

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
cases = pytest.mark.parametrize(
    ("recipe", "dtype"),
    [
        (motion_recipe(batch=2, ema=0.9), torch.float32),
        (spatial_recipe(sites="all", ema=0.9), torch.float16),
        (spatial_recipe(), torch.bfloat16),
    ],
    ids=["motion", "all", "layers"],
)


def saved(training, folder) -> Checkpoint:
    save_checkpoint(folder, training.checkpoint())
    loaded = load_checkpoint(folder)
    assert loaded is not None
    return loaded


@cases
def test_a_resumed_run_is_the_uninterrupted_one_parked_or_not(recipe, dtype, tmp_path):
    whole, run = (new_training(recipe, dtype, CUDA) for _ in range(2))
    steps = [whole.advance() for _ in range(4)]
    for _ in range(2):
        run.advance()
    again = new_training(recipe, dtype, CUDA)
    again.restore(saved(run, tmp_path / "running"))
    for step in steps[2:]:
        found = again.advance()
        assert (found.loss, found.grad_norm) == (step.loss, step.grad_norm)
    assert differences(whole.trainable.parameters, again.trainable.parameters) == []
    run.park()
    parked = saved(run, tmp_path / "parked")
    assert differences(parked.tensors, saved(again, tmp_path / "later").tensors) != []
    third = new_training(recipe, dtype, CUDA)
    third.restore(parked)
    assert third.advance().loss == steps[2].loss


@cases
def test_a_run_moves_from_the_card_to_the_cpu_and_back(recipe, dtype, tmp_path):
    whole = new_training(recipe, dtype, CUDA)
    for _ in range(2):
        whole.advance()
    here = new_training(recipe, dtype, CPU)
    here.restore(saved(whole, tmp_path / "card"))
    third, fourth = whole.advance(), whole.advance()
    assert here.advance().loss == pytest.approx(third.loss, rel=CLOSE[dtype])
    back = new_training(recipe, dtype, CUDA)
    back.restore(saved(here, tmp_path / "cpu"))
    assert back.advance().loss == pytest.approx(fourth.loss, rel=CLOSE[dtype])
    state = [v for entry in back.optimizer.state.values() for v in entry.values()]
    assert {tensor.device for tensor in [*state, *back.average.values()]} == {CUDA}
