"""Laws of the low-rank maths: merging equals running, nothing at scale 0, exact as a LoRA."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers.small_files import random_pair
from still_moving.adapters.low_rank import (
    LowRank,
    after_layer,
    merge_lora,
    merge_spatial,
    spatial_as_lora,
)

SEEDS = st.integers(0, 2**31)
SCALES = st.floats(-2, 2, width=32)
RANKS = st.integers(1, 6)


@st.composite
def convolutions(draw):
    """(weight, bias, input, keyword arguments) of a small convolution."""
    out, channels, kernel = (draw(st.integers(1, most)) for most in (6, 4, 3))
    generator = torch.Generator().manual_seed(draw(SEEDS))
    weight = torch.randn(out, channels, kernel, kernel, generator=generator)
    bias = torch.randn(out, generator=generator) if draw(st.booleans()) else None
    x = torch.randn(2, channels, 7, 6, generator=generator)
    sizes = {name: draw(st.integers(1, most)) for name, most in (("stride", 3), ("dilation", 2))}
    return weight, bias, x, sizes | {"padding": draw(st.integers(0, 2))}


def close(a, b):
    return torch.allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, b.abs().max().item()))


@settings(deadline=None, max_examples=100)
@given(convolutions(), RANKS, SEEDS, SCALES)
def test_a_merged_convolution_equals_the_adapter_at_run_time(convolution, rank, seed, scale):
    weight, bias, x, options = convolution
    pair = random_pair(weight.shape[0], rank, seed)
    running = after_layer(
        F.conv2d(x, weight, bias, **options), pair.down, pair.up, scale, channel_dim=1
    )
    merged = F.conv2d(x, *merge_spatial(weight, bias, pair, scale), **options)
    assert close(merged, running)


@settings(deadline=None, max_examples=60)
@given(RANKS, SEEDS, SCALES, st.booleans())
def test_a_merged_linear_layer_equals_the_adapter_at_run_time(rank, seed, scale, has_bias):
    generator = torch.Generator().manual_seed(seed)
    weight, x = (torch.randn(5, 3, generator=generator), torch.randn(2, 4, 3, generator=generator))
    bias = torch.randn(5, generator=generator) if has_bias else None
    pair = random_pair(5, rank, seed)
    merged = F.linear(x, *merge_spatial(weight, bias, pair, scale))
    assert close(merged, after_layer(F.linear(x, weight, bias), pair.down, pair.up, scale, -1))


@settings(deadline=None, max_examples=60)
@given(RANKS, SEEDS, SCALES)
def test_a_merged_motion_adapter_equals_a_branch_beside_the_layer(rank, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    weight, x = (torch.randn(5, 5, generator=generator), torch.randn(7, 5, generator=generator))
    pair = random_pair(5, rank, seed)
    beside = F.linear(x, weight) + scale * F.linear(F.linear(x, pair.down), pair.up)
    assert close(F.linear(x, merge_lora(weight, pair, scale)), beside)


@settings(deadline=None, max_examples=60)
@given(convolutions(), RANKS, SEEDS)
def test_the_exported_lora_is_the_merged_layer(convolution, rank, seed):
    weight, bias, _, _ = convolution
    pair = random_pair(weight.shape[0], rank, seed)
    lora, bias_diff = spatial_as_lora(weight, bias, pair)
    merged, merged_bias = merge_spatial(weight, bias, pair, 1.0)
    assert lora.rank == rank
    assert close(merge_lora(weight, lora, 1.0), merged)
    if bias is None:
        assert merged_bias is bias_diff is None
    else:
        assert close(bias + bias_diff, merged_bias)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scale_zero_and_an_untrained_adapter_change_no_bit(dtype):
    weight, bias, x = torch.randn(8, 3, 3, 3), torch.randn(8), torch.randn(2, 8, 4, 4)
    weight, bias, x = weight.to(dtype), bias.to(dtype), x.to(dtype)
    pair = random_pair(8, 2, 0)
    untrained = LowRank(pair.down, torch.zeros_like(pair.up))
    for used, scale in ((pair, 0.0), (untrained, 1.0), (untrained, -0.5)):
        merged, merged_bias = merge_spatial(weight, bias, used, scale)
        assert torch.equal(merged, weight)
        assert merged_bias is not None
        assert torch.equal(merged_bias, bias)
        assert torch.equal(after_layer(x, used.down, used.up, scale, 1), x)
        assert torch.equal(
            merge_lora(weight[:, 0, 0], LowRank(used.down[:, :3], used.up), scale),
            weight[:, 0, 0],
        )
        assert merged.dtype == merged_bias.dtype == dtype


def test_half_precision_is_merged_in_full_precision():
    weight, pair = torch.randn(64, 64), random_pair(64, 8, 1)
    exact = merge_spatial(weight.half().float(), None, pair, 0.3)[0]
    assert torch.equal(merge_spatial(weight.half(), None, pair, 0.3)[0], exact.half())


def test_scales_add_at_one_site():
    weight, pair = torch.randn(6, 6), random_pair(6, 2, 3)
    twice = merge_lora(merge_lora(weight, pair, 0.25), pair, 0.5)
    assert torch.allclose(twice, merge_lora(weight, pair, 0.75), atol=1e-5)
    assert torch.allclose(pair.delta(2.0), 2 * pair.up @ pair.down)


@pytest.mark.parametrize(("down", "up"), [((2, 3), (3, 4)), ((2, 3, 1, 1), (3, 2)), ((2,), (3, 2))])
def test_two_matrices_that_share_no_rank_are_no_pair(down, up):
    with pytest.raises(ValueError, match="low-rank pair"):
        LowRank(torch.zeros(down), torch.zeros(up))
