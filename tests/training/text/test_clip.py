"""CLIP's text encoder against its reference."""

import pytest
import torch

from still_moving.adapters.files.tensors import write_tensors
from still_moving.common.errors import UserError
from still_moving.training.text.clip import read_clip_text


@pytest.mark.parametrize("text", ["", "red dog", "a red dog runs", "dog " * 20])
def test_our_clip_is_the_reference(file, reference, tokenizer, text):
    model = read_clip_text(file, tokenizer)
    pieces = model.pieces(text)
    ids = [len(model.table) - 2, *pieces] + [len(model.table) - 1] * (9 - len(pieces))
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor([ids])).last_hidden_state[0]
    assert torch.allclose(model.encode(pieces, {}), expected, atol=1e-5)


def test_words_are_split_as_the_tokenizer_splits(file, tokenizer):
    model = read_clip_text(file, tokenizer)
    red, dog = model.pieces("red"), model.pieces("Dog")
    assert (len(red), len(dog)) == (1, 1)
    assert model.pieces("red dog") == red + dog
    assert len(model.pieces("cat")) == 3
    assert len(model.pieces("dog " * 50)) == 8  # of 10 places, two are for start and end


def test_without_a_tokenizer_only_nothing_can_be_read(file, tokenizer):
    model = read_clip_text(file, None)
    whole = read_clip_text(file, tokenizer)
    assert torch.equal(model.encode(model.pieces(""), {}), whole.encode([], {}))
    with pytest.raises(UserError, match="tokenizer"):
        model.pieces("a dog")
    with pytest.raises(UserError, match=r"vocab\.json"):
        read_clip_text(file, file.parent)


def test_a_file_without_clip_is_refused(tmp_path):
    write_tensors(tmp_path / "no.safetensors", {"one": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="no CLIP"):
        read_clip_text(tmp_path / "no.safetensors", None)
