"""The shapes world's latent space and words: the roles that the VAE and CLIP play for SD.

Both are exact and need no weights. Latents keep SD's geometry (4 channels, one latent pixel for
8 x 8 image pixels), so nodes and samplers that know SD's sizes fit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..known import SHAPES
from ..layout import FACTOR, LATENT_CHANNELS

CHANNELS = LATENT_CHANNELS
WORDS = SHAPES.words
TOKENS, TEXT_DIM = WORDS.tokens, WORDS.dim
split_prompt, encode_word, encode_prompt = WORDS.split, WORDS.encode_word, WORDS.encode
SCALE = 1.6  # brings the world's latents to about unit variance

# Four corners of a tetrahedron: the columns are orthonormal, so the transpose inverts it.
FRAME = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float32) / 2


def encode_world(pixels: Tensor) -> Tensor:
    """World pixels (..., 3, h, w) in 0..1 to latents (..., 4, h, w)."""
    return SCALE * torch.einsum("lc,...chw->...lhw", FRAME, 2 * pixels - 1)


def decode_world(latents: Tensor) -> Tensor:
    """Latents (..., 4, h, w) to world pixels (..., 3, h, w), clamped to 0..1."""
    pixels = torch.einsum("lc,...lhw->...chw", FRAME, latents.float()) / SCALE
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
