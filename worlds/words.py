"""A world's words: the role that CLIP plays for SD, exact and without weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.errors import UserError


@dataclass(frozen=True)
class Words:
    """tokens: most words in a prompt; dim: of each word's row; advice: what a prompt is to say."""

    tokens: int
    dim: int  # at most 256, the bits of a hash
    advice: str

    def split(self, prompt: str) -> list[str]:
        """The words that are read. Raises UserError for more than ``tokens`` of them."""
        words = prompt.lower().replace(",", " ").split()
        if len(words) > self.tokens:
            raise UserError(
                f"prompt {prompt[:60]!r}", f"{len(words)} words", f"at most {self.tokens}",
                self.advice,
            )  # fmt: skip  # subject, found, expected, next move
        return words

    def encode_word(self, word: str) -> Tensor:
        """One word, (dim,): the sign pattern of its hash.

        Fixed for every machine, near-orthogonal to the others, and any rare word has one.
        """
        digest = hashlib.sha256(word.encode()).digest()[: self.dim // 8]
        bits = [byte >> shift & 1 for byte in digest for shift in range(8)]
        return torch.tensor(bits, dtype=torch.float32) * 2 - 1

    def encode(self, prompt: str) -> Tensor:
        """Words to (tokens, dim); rows past the last word are zero, so '' is all zeros.

        Raises UserError for more than ``tokens`` words.
        """
        rows = torch.zeros(self.tokens, self.dim)
        for row, word in enumerate(self.split(prompt)):
            rows[row] = self.encode_word(word)
        return rows
