"""The colours that latents of all worlds hold: a fixed map of four channels to red, green, blue.

In the shapes world it is exact. The emoji world's VAE is trained to keep it, so that latents can be
looked at without the VAE.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 1.6  # brings the shapes world's latents to about unit variance
# Four corners of a tetrahedron: the columns are orthonormal, so the transpose inverts it.
FRAME = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float32) / 2


def encode_world(pixels: Tensor) -> Tensor:
    """World pixels (..., 3, h, w) in 0..1 to latents (..., 4, h, w)."""
    return SCALE * torch.einsum("lc,...chw->...lhw", FRAME, 2 * pixels - 1)


def decode_world(latents: Tensor) -> Tensor:
    """Latents (..., 4, h, w) to world pixels (..., 3, h, w), clamped to 0..1."""
    pixels = torch.einsum("lc,...lhw->...chw", FRAME, latents.float()) / SCALE
    return ((pixels + 1) / 2).clamp(0, 1)
