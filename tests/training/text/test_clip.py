"""CLIP's text encoder against its reference."""

import pytest
import torch

from still_moving.adapters.files.tensors import write_tensors
from still_moving.common.errors import UserError
from still_moving.training.text.clip import read_clip_text


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", 1),
        ("red dog", 1),
        ("a red dog runs", 1),
        ("dog " * 8, 1),
        ("dog " * 9, 2),
        ("a red " * 12, 3),
    ],
)
def test_our_clip_is_the_reference(file, reference, tokenizer, text, sections):
    """Long texts in sections, each with its start and end, as ComfyUI reads them."""
    model = read_clip_text(file, tokenizer)
    pieces, start, end = model.pieces(text), len(model.table) - 2, len(model.table) - 1
    parts = [pieces[at : at + 8] for at in range(0, max(1, len(pieces)), 8)]
    assert len(parts) == sections
    ids = [[start, *part] + [end] * (9 - len(part)) for part in parts]
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(ids)).last_hidden_state.flatten(0, 1)
    assert torch.allclose(model.encode(pieces, {}), expected, atol=1e-5)


def test_a_learned_word_is_read_in_every_section(file, tokenizer):
    model = read_clip_text(file, tokenizer)
    pieces, row = model.pieces("red " * 10), torch.ones(model.table.shape[1])
    plain, second = model.encode(pieces, {}), model.encode(pieces, {9: row})
    assert torch.equal(plain[:10], second[:10])
    assert not torch.allclose(plain[10:], second[10:])


def test_words_are_split_as_the_tokenizer_splits(file, tokenizer):
    model = read_clip_text(file, tokenizer)
    red, dog = model.pieces("red"), model.pieces("Dog")
    assert (len(red), len(dog)) == (1, 1)
    assert model.pieces("red dog") == red + dog
    assert len(model.pieces("cat")) == 3
    assert len(model.pieces("dog " * 50)) == 50


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
