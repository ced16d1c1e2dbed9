"""When the device has no room: what failed is let go before anything else is tried."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from ...common.errors import UserError
from ..checks.device import free_memory, give_back, is_out_of_memory

Result = TypeVar("Result")


def attempt(part: Callable[[], Result]) -> Result | None:
    """What a part of the work gives; None when memory was lacking.

    The error is gone by then: while it lives, its traceback holds all that the part had made.
    """
    try:
        return part()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None


@contextmanager
def room_for(doing: str, device: torch.device, needed: str, advice: str) -> Iterator[None]:
    """Say by a UserError what memory was lacking for, how much there was, and what helps."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # or what is free would be counted too low
    else:
        return
    raise no_room(doing, device, needed, advice)


def no_room(doing: str, device: torch.device, needed: str, advice: str) -> UserError:
    """Words for memory that was lacking. Called when the error is gone, so that it counts well."""
    give_back(device)
    free = free_memory(device) / 2**30
    return UserError("memory", f"too little {doing}, {free:.1f} GiB free", needed, advice)


def advice(whole_weights: bool) -> str:
    """What helps a stage that needs more memory than there is."""
    less = "train a LoRA and no whole weights, " if whole_weights else ""
    return (
        f"Close other programs and resume; or, in a new job, {less}train on fewer frames or at a"
        " lower resolution."
    )
