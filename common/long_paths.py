"""A path that is too long for Windows: said so, where the system says that there is no such path.

Without "long paths" Windows takes 259 characters, and for a folder 247, so that a file of the old
kind (8.3) fits into it; with them, a file that is missing is simply missing. The pack's own paths
keep to that in the portable build where downloads go (tests/host/test_path_lengths.py); a ComfyUI
that lies deeper has less room.
"""

from __future__ import annotations

import ctypes
import errno
import ntpath
import os

from .names import length

MOST_PATH, MOST_FOLDER = 259, 247
# Windows' numbers: no such file, no such path, name too long (twice).
_MISSING, _LONG = frozenset({2, 3}), frozenset({111, 206})


class PathTooLong(OSError):
    """No file or folder can be made or read there, and why is in ``strerror``."""


def too_long(error: OSError, windows: bool) -> PathTooLong | None:
    """What an error means where a path of it is too long for this Windows; None for any other."""
    number = getattr(error, "winerror", None)
    missing = number in _MISSING or (number is None and error.errno == errno.ENOENT)
    if not windows or not (missing or number in _LONG):
        return None
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)
    ]
    whole = [name if ntpath.isabs(name) else os.path.abspath(name) for name in names]
    longest = max(whole, key=length, default="")
    if length(longest) <= (MOST_PATH if missing else MOST_FOLDER) or _takes_longer(longest):
        return None
    text = (
        f"a path of {length(longest)} characters, where Windows takes {MOST_PATH}, and"
        f" {MOST_FOLDER} for a folder: move ComfyUI to a folder with a shorter name, or switch on"
        " long paths in Windows"
    )
    return PathTooLong(errno.ENAMETOOLONG, text, longest)


def _takes_longer(path: str) -> bool:
    """Whether long paths are on, as Windows has told since 2016; else a longer folder shows it."""
    if path.startswith("\\\\?\\"):  # never had a limit
        return True
    library = ctypes.WinDLL("ntdll") if os.name == "nt" else None
    asked = getattr(library, "RtlAreLongPathsEnabled", None)
    if asked is not None:
        asked.restype = ctypes.c_ubyte
        return bool(asked())
    folder = os.path.dirname(path)
    while length(folder) > MOST_FOLDER:
        if os.path.isdir(folder):
            return True
        folder = os.path.dirname(folder)
    return False
