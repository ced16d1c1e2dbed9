"""Describing words with embeddings of their own, in their places in a caption."""

import pytest
import torch

from helpers.reference_clips import WORDS
from still_moving.common.errors import UserError
from still_moving.training.text.learned_words import (
    LearnedWords,
    WorldText,
    open_text_model,
)
from still_moving.worlds.known import SHAPES


@pytest.fixture(params=["shapes", "clip"])
def model(request, file, tokenizer):
    if request.param == "shapes":
        return WorldText(SHAPES.words)
    return open_text_model("sd15", file, tokenizer)


def test_untrained_words_change_nothing(model):
    words = LearnedWords(model, ["red", "dog"])
    for caption in ("red dog", "red, a dog", "dog, red, dog"):
        plain = model.encode(model.pieces(caption), {})
        assert torch.equal(words.text(caption), plain)


def test_gradients_reach_the_words_alone(model):
    words = LearnedWords(model, ["red", "dog"])
    words.text("a red dog runs").square().sum().backward()
    assert words.rows.grad is not None
    assert words.rows.grad.abs().amax(dim=1).min() > 0
    assert [name for name, p in words.named_parameters() if p.requires_grad] == ["rows"]


def test_a_word_of_several_tokens_has_as_many_rows(file, tokenizer):
    words = LearnedWords(open_text_model("sd15", file, tokenizer), ["red", "cat"])
    assert len(words.rows) == 4


@pytest.mark.parametrize("chosen", [(), ("red", ""), ("a b c d", "e f g"), ("red",)])
def test_too_few_and_too_many_words_are_refused(chosen):
    with pytest.raises(UserError, match="describing words"):
        LearnedWords(WorldText(SHAPES.words), chosen)


@pytest.mark.parametrize(
    ("caption", "word"), [("blue square left fog", "red"), ("red circle left fog", "night")]
)
def test_a_caption_without_one_of_the_words_is_refused(caption, word):
    with pytest.raises(UserError, match=f"found no '{word}', expected every.*: red, circle, night"):
        LearnedWords(WorldText(SHAPES.words), WORDS).text(caption)


def test_rows_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"\(3, 64\)"):
        LearnedWords(WorldText(SHAPES.words), WORDS, torch.ones(3, 768))
