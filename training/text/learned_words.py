"""Models that read text, and describing words in it whose embeddings are trained.

Textual inversion as Customize-A-Video uses it (section 3.2.2): new tokens, initialized with words
that describe the clip, take up its appearance. Here the new tokens stand where those words stand
in the captions, so an untrained one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ...worlds.known import WORLDS
from ...worlds.words import Words
from ..checks.device import to_device

MOST_TOKENS = 6  # "2 to 6" in the paper; a rare word can be several


class TextModel(Protocol):
    """Words to what the network reads, through embeddings that can be replaced."""

    def pieces(self, text: str) -> list[Any]:
        """The tokens of a text."""
        ...

    def rows(self, pieces: Sequence[Any]) -> Tensor:
        """Their embeddings: (n, width)."""
        ...

    def encode(self, pieces: Sequence[Any], learned: Mapping[int, Tensor]) -> Tensor:
        """(tokens, dim). learned: embeddings that stand in for those at these places."""
        ...


class WorldText:
    """A world's words: a row of its own for each."""

    def __init__(self, words: Words):
        self.words = words

    def pieces(self, text: str) -> list[str]:
        return self.words.split(text)

    def rows(self, pieces: Sequence[str]) -> Tensor:
        return torch.stack([self.words.encode_word(word) for word in pieces])

    def encode(self, pieces: Sequence[str], learned: Mapping[int, Tensor]) -> Tensor:
        plain = self.words.encode(" ".join(pieces))
        device = next((row.device for row in learned.values()), plain.device)
        rows = list(to_device(plain, device))
        for place, row in learned.items():
            rows[place] = row
        return torch.stack(rows)


def open_text_model(base: str, file: Path, tokenizer: Path | None) -> TextModel:
    """The words of a checkpoint. base: a world has words of its own, "sd15" reads CLIP."""
    if base in WORLDS:
        return WorldText(WORLDS[base].words)
    from .clip import read_clip_text

    return read_clip_text(file, tokenizer)


class LearnedWords(nn.Module):
    """Describing words with embeddings of their own; ``rows``: (n, width), one row a token.

    rows: as trained before, or None to begin with the words' own. Raises UserError for words that
    are too many tokens, or none.
    """

    def __init__(self, model: TextModel, words: Sequence[str], rows: Tensor | None = None):
        super().__init__()
        self.model = model  # a CLIP is an nn.Module, and moves with this one
        self.names, self.words = words, [model.pieces(word) for word in words]
        pieces = [piece for word in self.words for piece in word]
        if not all(self.words) or not 2 <= len(pieces) <= MOST_TOKENS:
            raise UserError(
                f"describing words {', '.join(words)}",
                f"{len(pieces)} tokens",
                f"words of 2 to {MOST_TOKENS} tokens together",
                "Choose two or three short words that the caption has too.",
            )
        start = model.rows(pieces).clone() if rows is None else rows
        if start.shape != model.rows(pieces).shape:
            raise UserError(
                "trained words", f"embeddings of shape {tuple(start.shape)}",
                f"{tuple(model.rows(pieces).shape)}", "Train them with this checkpoint.",
            )  # fmt: skip  # subject, found, expected, next move
        self.rows = nn.Parameter(start)

    def text(self, caption: str) -> Tensor:
        """What the network reads of a caption: (tokens, dim).

        Raises UserError for a caption that lacks one of the words: there it could take up nothing.
        """
        pieces, learned, first = self.model.pieces(caption), {}, 0
        for name, word in zip(self.names, self.words, strict=True):
            places = _places(word, pieces)
            if not places:
                raise UserError(
                    f"caption {caption[:60]!r}", f"no {name!r}",
                    f"every describing word: {', '.join(self.names)}",
                    "Write the word into this caption, too, or leave it out of the words.",
                )  # fmt: skip  # subject, found, expected, next move
            learned |= {at + i: self.rows[first + i] for at in places for i in range(len(word))}
            first += len(word)
        return self.model.encode(pieces, learned)


def _places(word: list[Any], pieces: Sequence[Any]) -> list[int]:
    """Every place of a text at which all tokens of a word follow each other."""
    starts = range(len(pieces) - len(word) + 1)
    return [at for at in starts if list(pieces[at : at + len(word)]) == word]
