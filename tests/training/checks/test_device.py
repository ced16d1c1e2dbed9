"""The device that a job gets, the number format on it and its memory."""

import pytest
import torch

from still_moving.common.errors import UserError
from still_moving.training.checks.device import (
    card_dtype,
    free_memory,
    pick_device,
    pick_dtype,
    used_memory,
)

CPU = torch.device("cpu")


def test_memory_is_counted_in_bytes():
    assert free_memory(CPU) > 2**26
    assert 2**26 < used_memory(CPU) < 2**40


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_card_that_is_not_there_is_refused():
    assert pick_device("auto") == CPU
    with pytest.raises(UserError, match="no CUDA card"):
        pick_device("cuda")


def test_a_number_format_is_taken_at_its_word_and_chosen_otherwise():
    for name in ("float32", "bfloat16", "float16"):
        assert pick_dtype(name, CPU) == getattr(torch, name)
    assert pick_dtype("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("capability", "name", "dtype"),
    [
        ((6, 1), "NVIDIA GeForce GTX 1080 Ti", torch.float16),
        ((7, 0), "Tesla V100-SXM2-16GB", torch.float16),
        ((7, 5), "NVIDIA GeForce RTX 2080", torch.float16),
        ((7, 5), "NVIDIA GeForce GTX 1660 SUPER", torch.float32),
        ((7, 5), "NVIDIA T1000 8GB", torch.float32),
        ((8, 0), "NVIDIA A100-SXM4-40GB", torch.bfloat16),
        ((8, 6), "NVIDIA GeForce RTX 3060", torch.bfloat16),
        ((8, 9), "NVIDIA RTX 2000 Ada Generation", torch.bfloat16),
        ((9, 0), "NVIDIA H100 80GB HBM3", torch.bfloat16),
        ((12, 0), "NVIDIA GeForce RTX 5090", torch.bfloat16),
    ],
)
def test_a_card_trains_in_what_it_computes_in_itself(capability, name, dtype):
    """Before Ampere bf16 is emulated, and on Turing's cards without tensor cores fp16 is broken."""
    assert card_dtype(capability, name) == dtype
