"""What differs between operating systems: locks, and processes that outlive ours.

The lock is the truth about a job: whoever holds it runs it. The system takes it back when the
process ends, however it ends, so there is no stale pid, no clock and nothing to repair. Only the
standard library; what differs takes its system as an argument, so that each branch can be tried.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import files
from .files import patient as patient  # where the queue still looks for them
from .files import remove_tree as remove_tree

BUSY_PATIENCE_S = files.PATIENCE_S
REMOVED = ".removed-"

WINDOWS = os.name == "nt"
# Windows' own numbers: subprocess has names for them only there.
_DETACHED_PROCESS, _NEW_GROUP, _NO_WINDOW, _LOW_PRIORITY = 0x8, 0x200, 0x8000000, 0x4000
_NICE = 10  # elsewhere: a tenth of the time of what else computes, and all of it when nothing does
_LEAST_PATIENCE_S = 0.1  # for a lock file that a virus scanner has

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
def exclusive(path: Path, patience_s: float = 2.0) -> Generator[bool, None, None]:
    """Hold the lock file while the block runs; yields whether the lock was had.

    Tries for ``patience_s`` because ``is_held`` takes the lock for an instant to look.
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
    """Whether a living process holds the lock file."""
    if not path.exists():
        return False
    with exclusive(path, patience_s=0.0) as free:
        return not free


def spawn(command: list[str], log: Path) -> subprocess.Popen[Any]:
    """Start a process that outlives this one, has no window, and writes into ``log``.

    It has a low priority: a step that is under way while ComfyUI generates on the same cores
    would slow it down fivefold, because threads of both wait for each other's turns.
    """
    with files.opened(log, "ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
            close_fds=True,
            **detached(WINDOWS),
        )
    if os.name != "nt":
        with contextlib.suppress(OSError):  # gone already
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
            # On many desktops priorities count within a session only, and this is a new one.
            Path(f"/proc/{child.pid}/autogroup").write_bytes(b"%d" % _NICE)
    return child


def detached(windows: bool) -> dict[str, Any]:
    """Popen's arguments for a process that no console, Ctrl+C or closed terminal ends."""
    if windows:
        return {"creationflags": _DETACHED_PROCESS | _NEW_GROUP | _NO_WINDOW | _LOW_PRIORITY}
    return {"start_new_session": True}


def kill(pid: int) -> None:
    """End a process at once; one that is gone already is fine."""
    # Windows has no SIGKILL: there, every signal of os.kill ends the process without a word.
    with contextlib.suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


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
