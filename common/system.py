"""What differs between operating systems: locks, and the file manager. Files: files.py.

The lock is the truth about a job: whoever holds it runs it. The system takes it back when the
process ends, however it ends, so there is no stale pid, no clock and nothing to repair. Only the
standard library; what differs takes its system as an argument, so that each branch can be tried.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from . import files

WINDOWS = files.WINDOWS
_LEAST_PATIENCE_S = 0.1  # for a lock file that a virus scanner has

# What the system answers where there are no locks; all else means that another process has it.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF)

if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _try_lock(descriptor: int) -> bool:
    """Raises OSError on a disk without locks, such as some network drives."""
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise
        return False
    return True


@contextmanager
def exclusive(path: Path, patience_s: float = 2.0) -> Generator[bool, None, None]:
    """Hold the lock file while the block runs; yields whether the lock was had.

    Tries for ``patience_s`` because ``is_held`` takes the lock for an instant to look. Raises
    OSError where the file cannot be made, or the disk has no locks.
    """
    descriptor = files.descriptor(path, max(patience_s, _LEAST_PATIENCE_S))
    try:
        deadline = time.monotonic() + patience_s
        held = _try_lock(descriptor)
        while not held and time.monotonic() < deadline:
            time.sleep(0.05)
            held = _try_lock(descriptor)
        yield held
    finally:
        os.close(descriptor)  # closing releases the lock on every system


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file, which is not changed by looking.

    Raises OSError where that cannot be told: while a virus scanner has the file, say.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # a file, or a whole disk, that is read-only; NFS wants more than to read
        descriptor = os.open(path, os.O_RDONLY)
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def open_folder(path: Path) -> None:
    """Show a folder in the file manager. Raises OSError where there is none."""
    if os.name == "nt":
        os.startfile(path)
        return
    subprocess.Popen(
        [opener(sys.platform), str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def opener(platform: str) -> str:
    """The program that shows a folder, on systems that have one."""
    return "open" if platform == "darwin" else "xdg-open"
