"""The shapes world's latent space and words: the roles that the VAE and CLIP play for SD.

Both are exact and need no weights. Latents keep SD's geometry (4 channels, one latent pixel for
8 x 8 image pixels), so nodes and samplers that know SD's sizes fit.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError

CHANNELS = 4
FACTOR = 8  # image pixels per latent pixel, as in SD
TOKENS = 6
TEXT_DIM = 64
_SCALE = 1.6  # brings the world's latents to about unit variance

# Four corners of a tetrahedron: the columns are orthonormal, so the transpose inverts it.
_FRAME = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float32) / 2


def encode_world(pixels: Tensor) -> Tensor:
    """World pixels (..., 3, h, w) in 0..1 to latents (..., 4, h, w)."""
    return _SCALE * torch.einsum("lc,...chw->...lhw", _FRAME, 2 * pixels - 1)


def decode_world(latents: Tensor) -> Tensor:
    """Latents (..., 4, h, w) to world pixels (..., 3, h, w), clamped to 0..1."""
    pixels = torch.einsum("lc,...lhw->...chw", _FRAME, latents.float()) / _SCALE
    return ((pixels + 1) / 2).clamp(0, 1)


def encode_image(images: Tensor) -> Tensor:
    """Images (n, 3, 8h, 8w) in 0..1 to latents (n, 4, h, w)."""
    return encode_world(F.avg_pool2d(images, FACTOR))


def decode_image(latents: Tensor) -> Tensor:
    """Latents (n, 4, h, w) to images (n, 3, 8h, 8w) in 0..1."""
    return enlarge(decode_world(latents))


def enlarge(pixels: Tensor, factor: int = FACTOR) -> Tensor:
    """Nearest-neighbour enlargement of (..., h, w)."""
    return pixels.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)


def split_prompt(prompt: str) -> list[str]:
    """The words that are read. Raises UserError for more than ``TOKENS`` of them."""
    words = prompt.lower().replace(",", " ").split()
    if len(words) > TOKENS:
        raise UserError(
            f"prompt {prompt[:60]!r}", f"{len(words)} words", f"at most {TOKENS}",
            "Write colour, shape, direction, look, as in 'red circle left night'.",
        )  # fmt: skip  # subject, found, expected, next move
    return words


def encode_word(word: str) -> Tensor:
    """One word, (TEXT_DIM,): the sign pattern of its hash.

    Fixed for every machine, near-orthogonal to the others, and any rare word has one.
    """
    digest = hashlib.sha256(word.encode()).digest()[: TEXT_DIM // 8]
    bits = [byte >> shift & 1 for byte in digest for shift in range(8)]
    return torch.tensor(bits, dtype=torch.float32) * 2 - 1


def encode_prompt(prompt: str) -> Tensor:
    """Words to (TOKENS, TEXT_DIM); rows past the last word are zero, so '' is all zeros.

    Raises UserError for more than ``TOKENS`` words.
    """
    rows = torch.zeros(TOKENS, TEXT_DIM)
    for row, word in enumerate(split_prompt(prompt)):
        rows[row] = encode_word(word)
    return rows
