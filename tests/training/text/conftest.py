"""A CLIP of three layers with letters for words, as its reference, its tokenizer and a file."""

import json

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from still_moving.adapters.files.tensors import write_tensors

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Letters and three words, in the files of CLIP's tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    merges = ["r e", "re d</w>", "d o", "do g</w>", "r u", "ru n</w>"]
    joined = [merge.replace(" ", "") for merge in merges]
    names = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *joined]
    names += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(
        json.dumps({name: i for i, name in enumerate(names)}), encoding="utf-8"
    )
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def reference(tokenizer):
    vocabulary = json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))
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
