"""The shapes world's latent space and words: the roles that the VAE and CLIP play for SD.

Both are exact and need no weights. Latents keep SD's geometry (4 channels, one latent pixel for
8 x 8 image pixels), so nodes and samplers that know SD's sizes fit.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..colours import decode_world, encode_world
from ..known import SHAPES
from ..layout import FACTOR, LATENT_CHANNELS

CHANNELS = LATENT_CHANNELS
WORDS = SHAPES.words
TOKENS, TEXT_DIM = WORDS.tokens, WORDS.dim
split_prompt, encode_word, encode_prompt = WORDS.split, WORDS.encode_word, WORDS.encode


def encode_image(images: Tensor) -> Tensor:
    """Images (n, 3, 8h, 8w) in 0..1 to latents (n, 4, h, w)."""
    return encode_world(F.avg_pool2d(images, FACTOR))


def decode_image(latents: Tensor) -> Tensor:
    """Latents (n, 4, h, w) to images (n, 3, 8h, 8w) in 0..1."""
    return enlarge(decode_world(latents))


def enlarge(pixels: Tensor, factor: int = FACTOR) -> Tensor:
    """Nearest-neighbour enlargement of (..., h, w)."""
    return pixels.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
