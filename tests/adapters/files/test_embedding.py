"""Textual-inversion embeddings as files."""

import pytest
import torch

from still_moving.adapters.files import kinds
from still_moving.adapters.files.embedding import Embedding, load_embedding, save_embedding
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.common.errors import UserError

ROWS = torch.randn(3, 768, generator=torch.Generator().manual_seed(0))


def test_a_file_gives_back_its_rows_and_words(tmp_path):
    path = tmp_path / "look.safetensors"
    save_embedding(path, Embedding(ROWS.requires_grad_(), ("red", "circle")), {"a": "b"})
    again = load_embedding(path)
    assert torch.equal(again.rows, ROWS)
    assert again.words == ("red", "circle")
    assert not again.rows.requires_grad
    tensors, metadata = read_tensors(path)
    assert list(tensors) == ["emb_params"]
    assert metadata["a"] == "b"
    assert kinds.kind_of(tensors) is kinds.EMBEDDING


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": torch.ones(2, 3)},
        {"emb_params": torch.ones(3)},
        {"emb_params": torch.ones(2, 3, dtype=torch.int64)},
        {"emb_params": torch.full((2, 3), float("nan"))},
    ],
)
def test_other_files_are_refused(tmp_path, tensors):
    write_tensors(tmp_path / "e.safetensors", tensors, {})
    with pytest.raises(UserError, match=r"e\.safetensors"):
        load_embedding(tmp_path / "e.safetensors")


def test_another_tools_file_has_no_words(tmp_path):
    write_tensors(tmp_path / "e.safetensors", {"emb_params": ROWS.detach()}, {})
    assert load_embedding(tmp_path / "e.safetensors").words == ()
