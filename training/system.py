"""What differs between operating systems: a lock that dies with its process.

The lock is the truth about a job: whoever holds it runs it. The system takes it back when the
process ends, however it ends, so there is no stale pid, no clock and nothing to repair.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if os.name == "nt":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def exclusive(path: Path, patience_s: float = 2.0) -> Iterator[bool]:
    """Hold the lock file while the block runs; yields whether the lock was had.

    Tries for ``patience_s`` because ``is_held`` takes the lock for an instant to look.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
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
    """Whether a living process holds the lock file."""
    if not path.exists():
        return False
    with exclusive(path, patience_s=0.0) as free:
        return not free
