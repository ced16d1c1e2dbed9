"""The positions in time of the temporal layers."""

import math

import pytest
import torch

from helpers.small import motion_module
from still_moving.adapters.positions import sinusoid


def test_the_positions_are_animatediffs():
    table = sinusoid(5, 6)
    for position in range(5):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            expected = (math.sin(angle), math.cos(angle))
            assert table[position, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected)
    pe = motion_module().tensors[
        "mid_block.motion_modules.0.temporal_transformer."
        "transformer_blocks.0.attention_blocks.1.pos_encoder.pe"
    ]
    assert torch.allclose(sinusoid(*pe.shape[1:]), pe[0], atol=1e-6)
