"""How the pack opens, replaces and removes files and folders: in one place that withstands Windows.

There, a virus scanner, an indexer or another reader has the system refuse for an instant what it
allows right after, and nobody may replace or remove a file that is read-only. What is refused for
an instant is outlasted; what is meant, such as a missing file or a full disk, is raised at once.
Only the standard library; which refusals pass is decided for any system, so that it can be tried.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

from .long_paths import too_long
from .read_only import read_only_off

WINDOWS = os.name == "nt"
PATIENCE_S = 2.0  # how long a refusal that passes is outlasted
_TRIES = 12  # at least, however long they took: the machine may have slept meanwhile
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.005, 0.1
# Windows' numbers: access denied, sharing violation, lock violation, folder not empty (what was in
# it is being removed), removal pending, mapped by another.
_PASSING = frozenset({5, 32, 33, 145, 303, 1224})

# What has no name of its own yet, and what has lost it: hidden, short, and not ending as the real
# name does, so that no listing takes it for a finished file.
NEW, GONE = ".new-", ".old-"
ABANDONED_S = 7200.0  # two hours, because FAT's clock is off by one where summer time began
# Version 0.1.0 had the real name in them, and a number that had not been before.
_NEW_NAME = re.compile(r"\.new-[0-9a-f]{8}\.tmp|\..+\.[0-9a-f]{32}\.tmp")
_GONE_NAME = re.compile(r"\.old-[0-9a-f]{8}\.tmp|\.removed-.+\.[0-9]+")
_SAFETENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")  # a file that safetensors itself is writing
_Result = TypeVar("_Result")


def passes(error: OSError, windows: bool) -> bool:
    """Whether what a system refused may be allowed in an instant."""
    number = getattr(error, "winerror", None)
    if number is None:  # what opens files there gives no number
        return windows and isinstance(error, PermissionError)
    return windows and number in _PASSING


def refusal(number: int, text: str, path: Path | str) -> OSError:
    """The OSError of a system's own number, where a library gave its words alone."""
    if not WINDOWS:
        return OSError(number, text, str(path))
    error = OSError(errno.EINVAL, text, str(path), number)
    cast("Any", error).winerror = number  # elsewhere than on Windows, Python drops it
    return error


def patient(action: Callable[[], _Result], patience_s: float | None = None) -> _Result:
    """Do what Windows may refuse for an instant. Raises the OSError that stays, or is meant.

    patience_s: 2 s unless given; 0 tries once.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    deadline, tries, pause = time.monotonic() + patience_s, 1, _FIRST_PAUSE_S
    while True:
        try:
            return action()
        except OSError as error:
            over = time.monotonic() >= deadline and (tries >= _TRIES or not patience_s)
            if over or not passes(error, WINDOWS):
                if long := too_long(error, WINDOWS):
                    raise long from error
                raise
        time.sleep(pause)
        tries, pause = tries + 1, min(2 * pause, _MOST_PAUSE_S)


def opened(
    path: Path | str,
    mode: Literal["rb", "wb", "ab", "r+b"] = "rb",
    patience_s: float | None = None,
) -> BinaryIO:
    """Open a file for its bytes; for writing, where it is the pack's own, a read-only one, too."""
    if mode == "rb":
        return patient(lambda: open(path, mode), patience_s)
    return insisted(path, lambda: open(path, mode), patience_s)


def descriptor(path: Path | str, patience_s: float | None = None) -> int:
    """A descriptor of a file for reading and writing; the file is made where it is missing."""
    flags = os.O_RDWR | os.O_CREAT
    return insisted(path, lambda: os.open(path, flags, 0o644), patience_s)


def make_folder(path: Path | str) -> None:
    """A folder and those above it, where they are missing."""
    patient(lambda: os.makedirs(path, exist_ok=True))


def read_bytes(path: Path | str, patience_s: float | None = None) -> bytes:
    with opened(path, patience_s=patience_s) as file:
        return file.read()


def read_text(
    path: Path | str,
    errors: Literal["strict", "replace"] = "strict",
    patience_s: float | None = None,
) -> str:
    """UTF-8, with or without the mark that Windows' Notepad puts before it."""
    return read_bytes(path, patience_s).decode("utf-8-sig", errors)


def append_text(path: Path | str, text: str) -> None:
    """Write UTF-8 behind what is there, with the line ends of ``text``."""
    with opened(path, "ab") as file:
        file.write(text.encode("utf-8"))


def copy(source: Path | str, target: Path | str) -> None:
    """The content alone: a copy of a read-only file can be written to."""
    patient(lambda: shutil.copyfile(source, target))


def replace(source: Path | str, target: Path | str, patience_s: float | None = None) -> None:
    """Give a file or folder a name; a file of that name, read-only or not, is gone with that."""
    insisted(target, lambda: os.replace(source, target), patience_s)


def remove(path: Path | str, patience_s: float | None = None) -> None:
    """Remove a file, if it is there, read-only or not. Raises OSError where that is refused."""
    with contextlib.suppress(FileNotFoundError):
        insisted(path, lambda: os.unlink(path), patience_s)


def remove_empty(folder: Path | str) -> None:
    """Remove a folder that nothing is in. Raises OSError for any other."""
    insisted(folder, lambda: os.rmdir(folder))


def remove_tree(path: Path | str, patience_s: float | None = None) -> None:
    """Remove a folder, if it is there, with all that is in it, read-only or not.

    It loses its name first, so that nobody sees half a folder. Raises OSError where somebody on
    Windows has a file in it open: then it is whole. What is opened after it lost its name is
    left under another, for ``sweep``, and raises OSError, too.
    """
    try:
        aside = set_aside(path, patience_s)
    except FileNotFoundError:
        return
    patient(lambda: _remove_content(aside), patience_s)


def set_aside(path: Path | str, patience_s: float | None = None) -> Path:
    """Take the name off a file or folder that is to be removed; the name that ``sweep`` knows.

    Raises FileNotFoundError, and OSError where somebody on Windows has it, or a file in it, open.
    """
    aside = Path(path).with_name(_temporary_name(GONE))
    replace(path, aside, patience_s)
    return aside


def same(one: Path | str, other: Path | str) -> bool:
    """Whether two paths lead to one file or folder that is there, however they are spelled.

    On Windows that is also by another case, a short name, a junction or a drive's letter.
    """
    try:
        states = os.stat(one), os.stat(other)
    except OSError:
        return False
    if all(state.st_ino for state in states):
        return os.path.samestat(*states)
    return Path(one).resolve() == Path(other).resolve()  # a network drive without numbers


def temporary_beside(path: Path | str) -> Path:
    """A name for what takes the name of ``path`` when it is whole; nothing has it yet."""
    return Path(path).with_name(_temporary_name(NEW))


def _temporary_name(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(4)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a file or folder is called as this pack, in any version, calls what is not whole."""
    return any(known.fullmatch(name) for known in (_NEW_NAME, _GONE_NAME, _SAFETENSORS))


def is_being_removed(name: str) -> bool:
    """Whether a file or folder is called as what has lost its name."""
    return bool(_GONE_NAME.fullmatch(name))


def is_leftover(path: Path) -> bool:
    """Whether it is temporary and nobody's: being removed, or older than any writer takes."""
    if is_being_removed(path.name):
        return True
    try:
        state = os.lstat(path) if is_temporary(path.name) else None
    except OSError:  # it has got its name
        return False
    if state is None or (_SAFETENSORS.fullmatch(path.name) and not stat.S_ISREG(state.st_mode)):
        return False
    return time.time() - state.st_mtime > ABANDONED_S


def sweep(folder: Path) -> None:
    """Remove what a process that died left half in a folder; what cannot be removed stays."""
    with contextlib.suppress(OSError):  # no such folder
        for path in list(folder.iterdir()):
            if is_leftover(path):
                discard(path)


def discard(path: Path) -> bool:
    """Remove a file or folder, which is asked for again if it cannot be now; whether it is gone."""
    try:
        if not path.is_dir() or path.is_symlink():
            remove(path, patience_s=0)
        elif is_being_removed(path.name):
            _remove_content(path)
        else:
            remove_tree(path, patience_s=0)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_what_can_be(path: Path) -> bool:
    """Remove a file, or of a folder all that the system lets go; whether nothing of it is left."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            _remove_content(path, around=True)
        else:
            remove(path, patience_s=0)
    return not os.path.lexists(path)


def insisted(
    path: Path | str, action: Callable[[], _Result], patience_s: float | None = None
) -> _Result:
    """Do, with patience, what the read-only attribute prevents; it stays where that fails."""
    return patient(lambda: _writable(path, action), patience_s)


def _writable(path: Path | str, action: Callable[[], _Result]) -> _Result:
    try:
        return action()
    except PermissionError:
        with read_only_off(path) as off:
            if not off:
                raise
            return action()


def _remove_content(folder: Path, around: bool = False) -> None:
    """Remove a folder. around: what cannot be removed stays, and keeps nothing else."""

    def again(function: Callable[[str], Any], name: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):  # another one removes it, too
            return
        # Elsewhere than on Windows it is the folder around that has to be writable.
        parts = [name, os.path.dirname(name)] if name != str(folder) else [name]
        with contextlib.suppress(*[OSError] * around), read_only_off(*parts) as off:
            if not isinstance(error, PermissionError) or not off:
                raise error
            if function in (os.unlink, os.rmdir):
                function(name)
            else:  # it could not be looked into
                _remove_content(Path(name), around)

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=again)
    else:
        shutil.rmtree(folder, onerror=lambda function, name, info: again(function, name, info[1]))
