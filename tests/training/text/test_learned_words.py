"""Words in the worker: CLIP against its reference, trained words in their places."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from helpers.reference_clips import CAPTION, ONE, WORDS, clips
from still_moving.adapters.files.tensors import write_tensors
from still_moving.common.errors import UserError
from still_moving.training.text.clip import read_clip_text
from still_moving.training.text.learned_words import (
    LearnedWords,
    ShapesText,
    check_same,
    open_text_model,
    prompted,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Letters and three words, in the files of CLIP's tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    merges = ["r e", "re d</w>", "d o", "do g</w>", "r u", "ru n</w>"]
    joined = [merge.replace(" ", "") for merge in merges]
    names = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *joined]
    names += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return folder


@pytest.fixture(scope="module")
def reference(tokenizer):
    vocabulary = json.loads((tokenizer / "vocab.json").read_text())
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=10,
        eos_token_id=len(vocabulary) - 1,
    )
    torch.manual_seed(0)
    return CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory, reference):
    """A checkpoint whose CLIP is the reference."""
    path = tmp_path_factory.mktemp("clip") / "sd15.safetensors"
    state = {name.removeprefix("text_model."): t for name, t in reference.state_dict().items()}
    prefix = "cond_stage_model.transformer.text_model."
    write_tensors(path, {prefix + name: t for name, t in state.items()}, {})
    return path


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


@pytest.fixture(params=["shapes", "clip"])
def model(request, file, tokenizer):
    if request.param == "shapes":
        return ShapesText()
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
        LearnedWords(ShapesText(), chosen)


@pytest.mark.parametrize(
    ("caption", "word"), [("blue square left fog", "red"), ("red circle left fog", "night")]
)
def test_a_caption_without_one_of_the_words_is_refused(caption, word):
    with pytest.raises(UserError, match=f"found no '{word}', expected every.*: red, circle, night"):
        LearnedWords(ShapesText(), WORDS).text(caption)


def test_prompts_take_the_place_of_captions():
    model = ShapesText()
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
        prompted(ONE, prompt, ShapesText(), None)
    assert mark in str(refused.value)
    captioned = replace(ONE, items=(replace(ONE.items[0], caption=prompt),))
    with pytest.raises(UserError, match="only ComfyUI"):
        prompted(captioned, "", None, LearnedWords(ShapesText(), WORDS))


def test_a_caption_that_only_comfyui_reads_says_nothing_of_the_text_encoder():
    """Its cached text is ComfyUI's reading of it; another caption tells whether CLIPs differ."""
    (one,), model = ONE.items, ShapesText()
    marked = replace(one, caption="a (red:1.2) circle")
    check_same(model, [marked])
    check_same(model, [marked, one])
    with pytest.raises(UserError, match="another text encoder"):
        check_same(model, [marked, replace(one, caption="blue square left fog")])


def test_rows_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"\(3, 64\)"):
        LearnedWords(ShapesText(), WORDS, torch.ones(3, 768))


def test_another_text_encoder_than_the_caches_is_refused(file, tokenizer):
    check_same(ShapesText(), ONE.items)
    with pytest.raises(UserError, match="another text encoder"):
        check_same(open_text_model("sd15", file, tokenizer), ONE.items)
    (other,) = clips("blue square left fog").items
    with pytest.raises(UserError, match="another text encoder"):
        check_same(ShapesText(), [replace(other, caption=CAPTION)])
