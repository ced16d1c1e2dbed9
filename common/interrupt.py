"""Stopping work of many seconds half-way: its loops ask, and whoever began it answers.

A ComfyUI node answers for Cancel; on the command line and in a worker nobody does, and asking costs
nothing. The answer is one of this thread alone: a background thread is not stopped by Cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar


class _Stopped(BaseException):
    """No Exception: what turns a reader's errors into words must let it through."""

    def __init__(self, error: Exception) -> None:
        self.error = error


_ask: ContextVar[Callable[[], None] | None] = ContextVar("still_moving_interrupt", default=None)


def check() -> None:
    """Leave the work here, if it shall stop: call it at least every tenth of a second."""
    ask = _ask.get()
    if ask is None:
        return
    try:
        ask()
    except Exception as error:
        raise _Stopped(error) from error


@contextmanager
def interruptible(ask: Callable[[], None]) -> Generator[None, None, None]:
    """Let ``ask`` stop what is done inside. What it raises is raised again at the edge."""
    token = _ask.set(ask)
    try:
        yield
    except _Stopped as stopped:
        raise stopped.error from None
    finally:
        _ask.reset(token)
