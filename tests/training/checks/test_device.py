"""The device that a job gets, the number format on it and its memory."""

import pytest
import torch

from still_moving.common.errors import UserError
from still_moving.training.checks.device import free_memory, pick_device, pick_dtype, used_memory

CPU = torch.device("cpu")


def test_memory_is_counted_in_bytes():
    assert free_memory(CPU) > 2**26
    assert 2**26 < used_memory(CPU) < 2**40


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_card_that_is_not_there_is_refused():
    assert pick_device("auto") == CPU
    with pytest.raises(UserError, match="no CUDA card"):
        pick_device("cuda")


def test_a_number_format_is_taken_at_its_word_and_chosen_otherwise(monkeypatch):
    for name in ("float32", "bfloat16", "float16"):
        assert pick_dtype(name, CPU) == getattr(torch, name)
    assert pick_dtype("auto", CPU) == torch.float32
    for new, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda new=new: new)
        assert pick_dtype("auto", torch.device("cuda")) == expected
