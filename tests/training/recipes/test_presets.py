"""Presets: a recipe's numbers for one wish, and what replaces them."""

import pytest

from still_moving.common.errors import UserError
from still_moving.training.recipes import methods
from still_moving.training.recipes.presets import PRESETS, make_recipe


@pytest.mark.parametrize(("kind", "preset"), [(k, p) for k in PRESETS for p in PRESETS[k]])
def test_presets_are_recipes(kind, preset):
    word = "pll" if kind == "newmove" else None
    chosen = {} if word is None else {"motion_word": word}
    recipe = make_recipe(kind, preset, **chosen, seed=3)
    assert recipe.seed == 3
    assert recipe == make_recipe(kind, preset, **chosen, seed=3, steps=None, tier=None)
    if kind in methods.METHODS:
        assert recipe.name == kind


def test_false_and_nothing_replace_a_presets_own():
    assert make_recipe("vmc", "paper", check_captions=True, steps=7).stages[0].steps == 7
    assert not make_recipe("vmc", "paper", check_captions=False).check_captions
    (stage,) = make_recipe("newmove", "paper", motion_word="pll", keys_values=False).stages
    assert stage.train == "temporal.all"
    assert make_recipe("vmc", "shapes world").stages[0].debiased
    assert not make_recipe("vmc", "shapes world", debiased=False).stages[0].debiased
    with pytest.raises(UserError, match="steps"):
        make_recipe("motion", "paper", steps=0)
