"""The one error that a person can mend: what was found, what was expected, what to do next."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")


class UserError(ValueError):
    """A mistake that a person can mend.

    str() is one readable line: '<subject>: found <found>, expected <expected>. <next_move>'.
    subject is the file, folder or field at fault, shown as it was given.
    """

    def __init__(self, subject: str | Path, found: str, expected: str, next_move: str) -> None:
        self.subject = subject
        self.found = found
        self.expected = expected
        self.next_move = next_move
        super().__init__(subject, found, expected, next_move)

    def __str__(self) -> str:
        line = f"{self.subject}: found {self.found}, expected {self.expected}. {self.next_move}"
        return " ".join(line.split())


def lets_go(read: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
    """A reader after whose refusal another file can take the place of the one that was refused.

    The refusal's traceback holds what the reader had in hand. Tensors that are mapped from a file
    keep Windows from replacing or removing it, as long as somebody shows the error.
    """

    @functools.wraps(read)
    def reader(*given: _Given.args, **named: _Given.kwargs) -> _Read:
        try:
            return read(*given, **named)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)
                cause = cause.__cause__ or cause.__context__
            raise

    return reader
