"""Processes that outlive ours: started without a window, ended if need be. Known: signatures.py.

Only the standard library; what differs between systems takes its system as an argument, so that
each branch can be tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

from . import files
from .system import WINDOWS

# For sys.executable. ComfyUI's portable build has a Python that is isolated by its ._pth file, so
# what the environment says of these may count for nothing. -s: as that build starts ComfyUI.
PYTHON_FLAGS = ("-s", "-u", "-X", "utf8")
# Windows' own numbers: subprocess has names for them only there.
_NEW_GROUP, _NO_WINDOW, _LOW_PRIORITY, _BREAKAWAY = 0x200, 0x8000000, 0x4000, 0x1000000
_SYNCHRONIZE, _APPEND = 0x100000, 0x4
_SHARE_ALL, _OPEN_ALWAYS = 0x7, 4
_SYSTEM_REQUIRED, _CONTINUOUS = 0x1, 0x80000000
_NICE = 10  # elsewhere: a tenth of the time of what else computes, and all of it when nothing does


def spawn(command: list[str], log: Path) -> subprocess.Popen[Any]:
    """Start a process that outlives this one, has no window, and writes into ``log``.

    It has a low priority: a step that is under way while ComfyUI generates on the same cores
    would slow it down fivefold, because threads of both wait for each other's turns.
    """
    with files.insisted(log, lambda: open_log(log)) as output:
        child = _first_allowed(command, output, detached(WINDOWS))
    if os.name != "nt":
        with contextlib.suppress(OSError):  # gone already
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
            # On many desktops priorities count within a session only, and this is a new one.
            Path(f"/proc/{child.pid}/autogroup").write_bytes(b"%d" % _NICE)
    return child


def _first_allowed(
    command: list[str], output: BinaryIO, ways: list[dict[str, Any]]
) -> subprocess.Popen[Any]:
    """Start a process in the first of these ways that the system does not refuse."""
    while True:
        way, *ways = ways
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONUTF8": "1",
                    "PYTHONIOENCODING": "utf-8",
                },
                close_fds=True,  # a socket of ComfyUI's that lived on here would keep its port
                **way,
            )
        except PermissionError:
            if not ways:
                raise


def detached(windows: bool) -> list[dict[str, Any]]:
    """Popen's arguments for a process that no console, Ctrl+C or closed terminal ends: each way.

    On Windows it has a console that nobody sees, and so have the compilers that it starts; without
    any (DETACHED_PROCESS) each of those would open a window. A launcher may hold ComfyUI in a job
    object that ends with it: where that allows it, the process leaves it.
    """
    if windows:
        flags = _NO_WINDOW | _NEW_GROUP | _LOW_PRIORITY
        return [{"creationflags": flags | _BREAKAWAY}, {"creationflags": flags}]
    return [{"start_new_session": True}]


def kill(pid: int) -> None:
    """End a process at once; one that is gone already is fine."""
    # Windows has no SIGKILL: there, every signal of os.kill ends the process without a word.
    with contextlib.suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


if os.name == "nt":
    import msvcrt

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateFileW.restype = ctypes.c_void_p
    _INVALID = ctypes.c_void_p(-1).value

    def open_log(path: Path) -> BinaryIO:
        """A file to append to, which can be removed while it is open.

        What Python opens cannot, and a process that inherits it does not append: it writes where
        it was, over what others have appended since.
        """
        handle = _kernel32.CreateFileW(
            str(path), _APPEND | _SYNCHRONIZE, _SHARE_ALL, None, _OPEN_ALWAYS, 0x80, None
        )
        if handle in (None, _INVALID):
            error = ctypes.WinError(ctypes.get_last_error())
            error.filename = str(path)
            raise error
        return os.fdopen(msvcrt.open_osfhandle(handle, os.O_APPEND), "ab", buffering=0)

    def stay_awake(wanted: bool) -> None:
        """Whether this machine stays awake while this thread lives, until this is taken back."""
        _kernel32.SetThreadExecutionState(
            ctypes.c_uint32(_CONTINUOUS | (_SYSTEM_REQUIRED if wanted else 0))
        )
else:

    def open_log(path: Path) -> BinaryIO:
        """A file to append to, which can be removed while it is open."""
        return path.open("ab", buffering=0)

    def stay_awake(wanted: bool) -> None:
        """Whether this machine stays awake: elsewhere that is not ours to ask."""
