"""Files of words: read as Unicode, or refused by their name."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

from ...common import files
from ...common.errors import UserError

_MEANT = "\t\n\r\u200c\u200d"  # the last two join emoji and letters
_UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


def text_of(path: Path, most: int) -> str:
    """A file of words. Raises UserError, by its name, for what is too large or no Unicode."""
    try:
        size = path.stat().st_size
        if size > most:
            raise UserError(
                path,
                f"{size} bytes",
                f"at most {most}",
                "Shorten it, or remove it where it is no caption.",
            )
        return decoded(path, files.read_bytes(path))
    except OSError as error:
        raise UserError(
            path, str(error.strerror), "a readable file", "Check its permissions."
        ) from error


def decoded(path: Path, data: bytes) -> str:
    """UTF-8, with or without the mark before it. Raises UserError for any other encoding."""
    expected, move = "UTF-8 text", "Save it again as UTF-8."
    if data.startswith(_UTF16):
        raise UserError(path, "UTF-16 and not UTF-8", expected, move)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"other bytes at {error.start} than UTF-8 has, as in Windows-1252"
        raise UserError(path, found, expected, move) from error
    if "\0" in text:
        raise UserError(path, "zero bytes, not UTF-8", expected, move)
    return text


def lines_of(text: str) -> list[str]:
    """The lines that say something, stripped, as an editor numbers them.

    str.splitlines also splits at signs that stand inside a line, such as U+2028 and U+0085.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def has_unseen(text: str) -> bool:
    """Whether there are signs in it that nobody typed, which CLIP reads all the same."""
    kinds = ((sign, unicodedata.category(sign)) for sign in text)
    return any(kind in ("Cc", "Cf") and sign not in _MEANT for sign, kind in kinds)


def listed(names: list[str]) -> str:
    """The first eight, and how many more."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
