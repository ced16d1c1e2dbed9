"""What a stage is measured on and does not learn from."""

import pytest

from helpers.small import (
    motion_recipe,
    new_training,
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
    (learned,), (held_out,) = large.learned_items, large.held_out_items
    assert (len(learned), len(held_out)) == (22, 3)
    ids = {item.id for item in learned} | {item.id for item in held_out}
    assert len(ids) == 25
    small = new_training(motion_recipe())
    (learned,), (held_out,) = small.learned_items, small.held_out_items
    assert [i.id for i in learned] == [i.id for i in held_out]


def test_the_held_out_loss_moves_only_with_the_weights():
    training = new_training(motion_recipe(held_out=3, lr=0.1))
    before, again = training.held_out_loss(), training.held_out_loss()
    assert before == again
    draws = held_out_draws(0, 0, [3], 3)
    by_hand = [training.draw_loss(s, training.held_out_items[0]).item() for s in draws]
    assert before == pytest.approx(sum(by_hand) / 3)
    training.advance()
    assert training.held_out_loss() != before
