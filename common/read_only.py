"""The read-only attribute of files and folders, which on Windows keeps them from being replaced."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def read_only_off(*paths: Path | str) -> Generator[bool, None, None]:
    """Yields whether any was read-only; it is again where the block fails."""
    modes = {path: mode for path in paths if (mode := _take_read_only_off(path)) is not None}
    try:
        yield bool(modes)
    except BaseException:
        for path, mode in modes.items():
            with contextlib.suppress(OSError):
                os.chmod(path, mode)
        raise


def _take_read_only_off(path: Path | str) -> int | None:
    """Returns the mode that it had, where it was read-only and is not any more."""
    try:
        mode = os.lstat(path).st_mode
        wanted = stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IWUSR
        if mode & wanted == wanted or stat.S_ISLNK(mode):
            return None
        os.chmod(path, stat.S_IMODE(mode) | wanted)
    except OSError:
        return None
    return stat.S_IMODE(mode)
