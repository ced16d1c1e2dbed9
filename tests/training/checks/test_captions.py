"""What would spoil a training is said before it, in one line that names it."""

from dataclasses import replace

import pytest

from helpers.reference_clips import (
    CAPTION,
    LOOK,
    OTHERS,
    SETS,
    SEVERAL,
    clips,
    customize,
    newmove,
    vmc,
)
from still_moving.common.errors import UserError
from still_moving.training.checks.captions import check_recipe, is_common, names_motion
from still_moving.training.recipes.recipe import Recipe


def refused(recipe: Recipe, match: str, **sets) -> None:
    with pytest.raises(UserError, match=match):
        check_recipe(recipe, {**SETS, **sets})


@pytest.mark.parametrize("recipe", [customize(), customize(absorber="none"), vmc(), newmove()])
def test_good_sets_pass(recipe):
    check_recipe(recipe, SETS)


@pytest.mark.parametrize("recipe", [customize(), vmc()])
def test_clips_are_refused_by_what_is_wrong_with_them(recipe):
    refused(recipe, r"0\.mp4: found 2 frames, expected at least 3", clip=clips(CAPTION, frames=2))
    refused(recipe, r"0\.mp4: found one frame, a still", clip=clips(CAPTION, frames=1))
    refused(recipe, "2 clips, expected exactly one", clip=clips(CAPTION, CAPTION))


def test_newmove_refuses_stills_and_short_clips_in_both_sets():
    for name, captions in (("motion", SEVERAL), ("regularization", OTHERS)):
        short = clips(*(item.caption for item in captions.items), frames=2)
        refused(newmove(), "found 2 frames", **{name: short})


def test_a_caption_must_say_more_than_the_appearance():
    refused(customize(appearance=CAPTION), "nothing about a motion")
    refused(customize(caption="the night, a red circle"), "nothing about a motion")
    check_recipe(customize(caption="red circle wobbles night"), SETS)


@pytest.mark.parametrize("recipe", [vmc(), customize(absorber="none")])
def test_a_caption_without_a_verb_is_refused(recipe):
    refused(recipe, "nothing about a motion", clip=clips("a red circle at night"))
    quiet = replace(recipe, check_captions=False)
    check_recipe(quiet, {**SETS, "clip": clips("a red circle at night")})


@pytest.mark.parametrize(
    "caption",
    [
        *("a cat is roaring", "a dog jumps", "She danced.", "camera pans left", "bird flies"),
        *("a rabbit hopped", "red circle zigzag night", "ein Mädchen läuft", "猫が跳ぶ", "RUN!"),
    ],
)
def test_captions_that_name_a_motion(caption):
    assert names_motion(caption, None)


@pytest.mark.parametrize(
    "caption",
    ["", "a cat", "the king of the ring", "a building in the morning", "red circle night", "..."],
)
def test_captions_that_name_none(caption):
    assert not names_motion(caption, None)


def test_a_motion_is_what_the_appearance_lacks():
    assert names_motion("a ginger cat wibbles on a sofa", "a ginger cat on a sofa")
    assert not names_motion("the ginger cat is on a sofa", "a ginger cat, a sofa")
    assert names_motion(CAPTION, LOOK)


@pytest.mark.parametrize("word", ["dance", "Dancing", "person", "the", "left", "walked", "thing"])
def test_a_token_that_is_a_common_word_is_refused(word):
    assert is_common(word)
    refused(newmove(motion_word=word), f"token: found the common word '{word}'")


@pytest.mark.parametrize("word", ["pll", "sks", "V*", "zxv"])
def test_rare_tokens_are_taken(word):
    assert not is_common(word)
    spoken = clips(*(f"red circle {word} night" for _ in range(2)))
    check_recipe(newmove(motion_word=word), {**SETS, "motion": spoken})


def test_the_token_is_in_the_motions_captions_and_in_no_other():
    refused(newmove(motion_word="sks"), "no 'sks'")
    refused(newmove(prompt="red circle left"), "no 'pll'")
    check_recipe(newmove(prompt="somebody doing PLL, fast"), SETS)
    refused(newmove(), "the token 'pll'", regularization=SEVERAL)
