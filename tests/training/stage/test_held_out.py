"""What a stage is measured on and does not learn from."""

import pytest

from helpers.small import (
    motion_recipe,
    new_run,
    new_unet,
    sets,
    training_set,
    weights,
)
from still_moving.training.stage.draws import held_out_draws
from still_moving.training.stage.loop import StageTraining


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
