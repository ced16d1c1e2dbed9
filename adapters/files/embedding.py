"""Textual-inversion embeddings, in the form that ComfyUI's CLIP loads from its embeddings folder.

One tensor ``emb_params`` (tokens, width): written as ``embedding:<file name>`` in a prompt, its
rows stand there as so many tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from .embedding_forms import EMB_PARAMS as KEY
from .embedding_forms import form_of_embedding
from .metadata import MARK
from .tensors import read_tensors, refuse_non_finite, write_tensors


@dataclass(frozen=True, eq=False)
class Embedding:
    """rows: (tokens, width), fp32; words: that they were initialized with and stand for."""

    rows: Tensor
    words: tuple[str, ...] = ()


def save_embedding(
    path: Path | str, embedding: Embedding, metadata: Mapping[str, str] | None = None
) -> None:
    rows = embedding.rows.detach().to(torch.float32)
    refuse_non_finite(path, {KEY: rows})
    words = {f"{MARK}words": "\n".join(embedding.words)}
    write_tensors(path, {KEY: rows}, {f"{MARK}kind": "embedding", **words, **(metadata or {})})


@lets_go
def load_embedding(path: Path | str) -> Embedding:
    """Raises UserError for anything but a finite embedding in this form."""
    path = Path(path)
    tensors, metadata = read_tensors(path)
    rows = tensors.get(KEY)
    if rows is None or rows.ndim != 2 or not rows.is_floating_point():
        form = form_of_embedding(tensors)
        found = f"no {KEY} (tokens, width) but {next(iter(tensors))!r}"
        raise UserError(
            path, f"an embedding of {form.form}" if form and rows is None else found,
            f"a textual-inversion embedding with {KEY}",
            "Choose another file, or train the words again.",
        )  # fmt: skip  # file, found, expected, next move
    refuse_non_finite(path, tensors)
    words = metadata.get(f"{MARK}words", "")
    return Embedding(rows.float().clone(), tuple(words.split("\n")) if words else ())
