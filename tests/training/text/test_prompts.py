"""Prompts in place of captions, and the text encoder that is the cache's."""

from dataclasses import replace

import pytest
import torch

from helpers.reference_clips import CAPTION, ONE, WORDS, clips
from still_moving.common.errors import UserError
from still_moving.training.text.learned_words import (
    LearnedWords,
    WorldText,
    open_text_model,
)
from still_moving.training.text.prompts import check_same, prompted
from still_moving.worlds.known import SHAPES


def test_prompts_take_the_place_of_captions():
    model = WorldText(SHAPES.words)
    assert prompted(ONE, "", model, None) is ONE
    (item,) = prompted(ONE, "red circle", model, None).items
    assert item.caption == "red circle"
    assert torch.equal(item.text[:2], ONE.items[0].text[:2])
    assert item.text[2:].abs().max() == 0
    words = LearnedWords(model, WORDS, torch.ones(3, 64))
    (item,) = prompted(ONE, "", None, words).items
    assert torch.equal(item.text[[0, 1, 3]], torch.ones(3, 64))
    assert torch.equal(item.text[2], ONE.items[0].text[2])
    assert not item.text.requires_grad


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("a embedding:my_look runs", "embedding:my_look"),
        ("a (red:1.2) circle", "(red:1.2)"),
        ("a (red) circle", "(red)"),
        ("a (very (red):1.3) circle", "(red)"),
        ("a circle \\(red\\)", "(red"),
    ],
)
def test_what_only_comfyui_reads_is_refused_and_not_read_as_letters(prompt, mark):
    with pytest.raises(UserError) as refused:
        prompted(ONE, prompt, WorldText(SHAPES.words), None)
    assert mark in str(refused.value)
    captioned = replace(ONE, items=(replace(ONE.items[0], caption=prompt),))
    with pytest.raises(UserError, match="only ComfyUI"):
        prompted(captioned, "", None, LearnedWords(WorldText(SHAPES.words), WORDS))


def test_a_caption_that_only_comfyui_reads_says_nothing_of_the_text_encoder():
    """Its cached text is ComfyUI's reading of it; another caption tells whether CLIPs differ."""
    (one,), model = ONE.items, WorldText(SHAPES.words)
    marked = replace(one, caption="a (red:1.2) circle")
    check_same(model, [marked])
    check_same(model, [marked, one])
    with pytest.raises(UserError, match="another text encoder"):
        check_same(model, [marked, replace(one, caption="blue square left fog")])


def test_another_text_encoder_than_the_caches_is_refused(file, tokenizer):
    check_same(WorldText(SHAPES.words), ONE.items)
    with pytest.raises(UserError, match="another text encoder"):
        check_same(open_text_model("sd15", file, tokenizer), ONE.items)
    (other,) = clips("blue square left fog").items
    with pytest.raises(UserError, match="another text encoder"):
        check_same(WorldText(SHAPES.words), [replace(other, caption=CAPTION)])
