"""The card's library in this process: its counters, its limit, and what Python tells it.

Nothing here imports torch.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from .build import library

# As in source/card.h, in its order.
FIELDS = (
    "limit", "used", "peak", "mallocs", "refused", "h2d", "h2d_bytes", "h2d_pageable", "d2h",
    "d2h_bytes", "d2h_pageable", "d2d", "d2d_bytes", "stream_sync", "device_sync", "event_sync",
    "memcpy_sync", "event_query", "pinned", "registered", "launches",
)  # fmt: skip  # a list of names
_TELL = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_longlong)


class Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_longlong) for name in FIELDS]


class Library:
    """The loaded library; one a process."""

    def __init__(self, gib: float, capability: str):
        assert "torch" not in sys.modules, "the pretended card has to be there before torch"
        self._calls = ctypes.CDLL(str(library()[0]), ctypes.RTLD_GLOBAL)
        self.counters: Any = Counters.in_dll(self._calls, "card")
        self.counters.limit = int(gib * 2**30)
        major, _, minor = capability.partition(".")
        self._calls.card_capability(int(major), int(minor or 0))
        pointers = [ctypes.c_void_p, ctypes.c_void_p]
        self._calls.card_copied.argtypes = [*pointers, ctypes.c_longlong, ctypes.c_int]
        self._calls.card_waited.argtypes = [ctypes.c_char_p]
        self._told = ctypes.c_void_p.in_dll(self._calls, "card_told")
        self._listeners: list[Any] = []  # a thread may still be in one that was taken off

    def counts(self) -> dict[str, int]:
        return {name: getattr(self.counters, name) for name in FIELDS}

    def copied(self, to: int, origin: int, nbytes: int, waits: bool) -> None:
        """Count a copy between two addresses; 0 is any place in pageable memory."""
        self._calls.card_copied(to, origin, nbytes, int(waits))

    def waited(self, why: str) -> None:
        """Count that the host has waited for the device."""
        self._calls.card_waited(why.encode())

    def listen(self, heard: Callable[[str, int], None] | None) -> None:
        """Call this with (what, bytes) at every copy and wait from now on; None: nobody."""
        self._told.value = None
        if heard is not None:
            call = _TELL(lambda what, nbytes: heard(what.decode(), nbytes))
            self._listeners.append(call)
            self._told.value = ctypes.cast(call, ctypes.c_void_p).value


_loaded: list[Library] = []


def load(gib: float, capability: str) -> None:
    """Once a process, and before torch."""
    if not _loaded:
        _loaded.append(Library(gib, capability))


def loaded() -> bool:
    return bool(_loaded)


def card() -> Library:
    """The card of this process. Fails where ``load`` was not called."""
    return _loaded[0]
