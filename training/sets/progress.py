"""How far a long look or build is, said to whoever asks, who may stop it by raising."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeAlias

from ...common import interrupt

# (phase, files done, files in all). What it raises stops the work and reaches the caller as it is.
Progress: TypeAlias = Callable[[str, int, int], None]
LOOKING, ENCODING = "Looking", "Encoding"
_BETWEEN_S = 0.1  # a decoder gives hundreds of frames a second; nobody reads so many


class Pulse:
    """Calls a Progress at every file, and between the frames of a long one ten times a second.

    raised: what it was stopped with. Whoever turns errors into others lets that one through.
    """

    def __init__(self, tell: Progress | None = None, phase: str = "", total: int = 0):
        self._tell, self._phase, self._total = tell or None, phase, total
        self._done, self._last = 0, -math.inf
        self.raised: BaseException | None = None

    def at(self, done: int) -> None:
        """So many files are done."""
        self._done, self._last = done, -math.inf
        self()

    def __call__(self) -> None:
        """Still at work on the same file."""
        interrupt.check()
        now = time.monotonic()
        if self._tell is None or now - self._last < _BETWEEN_S:
            return
        self._last = now
        try:
            self._tell(self._phase, self._done, self._total)
        except BaseException as error:
            self.raised = error
            raise
