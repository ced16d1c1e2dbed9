"""The device that a job gets, the number format on it and its memory."""

import pytest
import torch

from still_moving.common.errors import UserError
from still_moving.training.checks.device import (
    free_memory,
    has_bfloat16,
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
    ("capability", "native"),
    [
        ((6, 1), False),
        ((7, 0), False),
        ((7, 5), False),
        ((8, 0), True),
        ((8, 6), True),
        ((8, 9), True),
        ((9, 0), True),
        ((12, 0), True),
    ],
)
def test_bfloat16_is_for_cards_that_compute_in_it(capability, native):
    """Older ones do it by emulation, which ``is_bf16_supported`` counts as well."""
    assert has_bfloat16(capability) is native
