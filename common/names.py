"""Names that every system takes for a file: jobs, folders and workflows are shared between them.

Windows keeps some names for devices ("con", also as "con.txt"), drops dots and spaces at the end,
refuses some signs, and takes paths of 259 characters. Everything here holds on every system.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from .errors import UserError

# Microsoft, "Naming Files, Paths, and Namespaces"; Python 3.13's ntpath.isreserved has the same,
# but for CLOCK$, which older Windows keeps.
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"
}
_SIGNS = '<>:"/\\|?*'
MOST_NAME = 60  # characters of a name that an artist gives
MOST_FILE = 90  # characters of a file's name that is made of such a name, ending included
_MOST_OLD = 80  # version 0.1.0 took names of this length
_MOST_BYTES = 220  # of a file's name in UTF-8: where Windows counts characters, others count these


def fault(name: str) -> str:
    """What is wrong with a file's name on some system, in words; "" where all take it."""
    device = name.partition(".")[0].rstrip(" ").upper()
    if device in _DEVICES:
        return "a name that Windows keeps for itself"
    if any(ord(sign) < 32 for sign in name):
        return "a line break or another sign that cannot be seen"
    signs = [sign for sign in name if sign in _SIGNS]
    if signs:
        return f"a {signs[0]} in it, which no file's name on Windows can have"
    if name.endswith((".", " ")):
        return "a dot or space at its end, which Windows leaves out"
    return "" if name else "no name"


def check_name(name: str, subject: str = "name", *, also: str = "", most: int = MOST_NAME) -> str:
    """A new name that becomes a file's, with more words and an ending; returns it in one spelling.

    also: signs it may have beside letters, digits, space, dot, dash and underscore. Raises
    UserError for a path, and for a name that some system does not take.
    """
    name = unicodedata.normalize("NFC", name)  # macOS spells é as two characters
    shown = repr(name)[:100]
    more = f", or one of {also}" if also else ""
    expected = f"1 to {most} letters, digits, spaces, dots, dashes or underscores{more}"
    if not name or not _is_plain(name, also):
        raise UserError(subject, shown, expected, "Choose a plain name without slashes.")
    if why := fault(name):
        raise UserError(subject, f"{shown}, {why}", expected, "Choose another name.")
    if long := _excess(name, most, 2 * most):
        raise UserError(subject, long, expected, "Shorten the name.")
    return name


def check_kept_name(name: str, subject: str) -> None:
    """Raise UserError for a name in a file of ours that is a path; all else was taken once."""
    if not _is_plain(name) or not 1 <= len(name) <= _MOST_OLD:
        expected = f"1 to {_MOST_OLD} letters, digits, spaces, dots, dashes or underscores"
        raise UserError(subject, repr(name)[:100], expected, "Choose a plain name without slashes.")


def check_file_name(name: str, subject: str) -> None:
    """Raise UserError for a name made of others that is too long for the folders it goes to."""
    if long := _excess(name, MOST_FILE, _MOST_BYTES):
        raise UserError(
            subject, f"a file {name!r} of {long}", f"at most {MOST_FILE} characters",
            "Shorten the name of the job or of its stages.",
        )  # fmt: skip  # file, found, expected, next move


def check_new_path(path: Path) -> Path:
    """A path that shall be made here; returns it. What is there already may have any name.

    Raises UserError where a new part of it is a name that some system does not take.
    """
    for place in (path, *path.parents):
        # Not exists(): Windows says yes to "con".
        if os.path.isdir(place) or os.path.isfile(place):
            break
        if place.name != ".." and place.name and (why := fault(place.name)):
            expected = "a name that every system takes"
            raise UserError(path, f"{place.name!r}, {why}", expected, "Choose another name.")
    return path


def folded(name: str) -> str:
    """What two names have in common that a disk takes for one: "Dog" and "dog", é and e with ´."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def length(text: str | Path) -> int:
    """Characters as Windows counts them, in UTF-16: one beyond the first 65,536 counts as two."""
    return len(str(text).encode("utf-16-le", "surrogatepass")) // 2


def _excess(name: str, most: int, most_bytes: int) -> str:
    """How long a name is, where that is too long; else ""."""
    if length(name) > most:
        return f"{length(name)} characters"
    size = len(name.encode())
    return f"{size} bytes in UTF-8, more than {most_bytes}" if size > most_bytes else ""


def _is_plain(name: str, also: str = "") -> bool:
    plain = all(c.isalnum() or c in " ._-" or c in also for c in name)
    return plain and name == name.strip(" .")
