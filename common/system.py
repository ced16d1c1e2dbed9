"""What differs between operating systems: locks, processes that outlive ours, busy files.

The lock is the truth about a job: whoever holds it runs it. The system takes it back when the
process ends, however it ends, so there is no stale pid, no clock and nothing to repair. Only the
standard library; what differs takes its system as an argument, so that each branch can be tried.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

WINDOWS = os.name == "nt"
BUSY_PATIENCE_S = 2.0  # Windows refuses a file that somebody, a virus scanner say, has open
_BUSY_PAUSE_S = 0.05
REMOVED = ".removed-"  # how a folder is called between losing its name and being gone
# Windows' own numbers: subprocess has names for them only there.
_DETACHED_PROCESS, _NEW_GROUP, _NO_WINDOW, _LOW_PRIORITY = 0x8, 0x200, 0x8000000, 0x4000
_NICE = 10  # elsewhere: a tenth of the time of what else computes, and all of it when nothing does
_Result = TypeVar("_Result")

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


def spawn(command: list[str], log: Path) -> subprocess.Popen[Any]:
    """Start a process that outlives this one, has no window, and writes into ``log``.

    It has a low priority: a step that is under way while ComfyUI generates on the same cores
    would slow it down fivefold, because threads of both wait for each other's turns.
    """
    with log.open("ab") as output:
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
            Path(f"/proc/{child.pid}/autogroup").write_text(str(_NICE), encoding="ascii")
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


def patient(action: Callable[[], _Result], patience_s: float | None = None) -> _Result:
    """Do what Windows may refuse for an instant. Raises the last PermissionError.

    patience_s: default 2 s on Windows; elsewhere a refusal is meant, and raised at once.
    """
    if patience_s is None:
        patience_s = BUSY_PATIENCE_S if WINDOWS else 0.0
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)


def remove_tree(path: Path) -> None:
    """Remove a folder that somebody may be reading. Raises OSError when it cannot be removed.

    It loses its name first where the system allows that, so nobody sees half a folder.
    """
    aside = path.with_name(f"{REMOVED}{path.name[:100]}.{time.monotonic_ns()}")
    try:
        patient(lambda: os.replace(path, aside))
    except FileNotFoundError:
        return
    except PermissionError:
        aside = path
    patient(lambda: shutil.rmtree(aside))


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
