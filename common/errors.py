"""The one error that a person can mend: what was found, what was expected, what to do next."""

from __future__ import annotations

from pathlib import Path


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
