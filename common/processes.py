"""Processes that outlive ours: started without a window, known for certain, ended if need be.

Only the standard library; what differs between systems takes its system as an argument, so that
each branch can be tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from . import files
from .system import WINDOWS

# For sys.executable. ComfyUI's portable build has a Python that is isolated by its ._pth file, so
# what the environment says of these may count for nothing. -s: as that build starts ComfyUI.
PYTHON_FLAGS = ("-s", "-u", "-X", "utf8")
# Windows' own numbers: subprocess has names for them only there.
_NEW_GROUP, _NO_WINDOW, _LOW_PRIORITY, _BREAKAWAY = 0x200, 0x8000000, 0x4000, 0x1000000
_TERMINATE, _QUERY, _SYNCHRONIZE, _APPEND = 0x1, 0x1000, 0x100000, 0x4
_SHARE_ALL, _OPEN_ALWAYS = 0x7, 4
_SYSTEM_REQUIRED, _CONTINUOUS = 0x1, 0x80000000
_SINCE_1601_S = 11_644_473_600  # Windows counts time from there
_NICE = 10  # elsewhere: a tenth of the time of what else computes, and all of it when nothing does
_POLL_S = 0.05
_COARSE_S = 2.0  # how far some disks round the time of a file


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


class Process(Protocol):
    """A hold on a process that this one did not start.

    lasting: whether it is never one on another process that has its number by now. That is so on
    Windows, and on Linux from 5.3 on; elsewhere it is a number, good as long as its lock is held.
    """

    lasting: bool

    def wait(self, patience_s: float) -> bool:
        """Whether it ends within that time. False, too, where that cannot be told."""
        ...

    def kill(self) -> None:
        """End it at once; one that is gone already is fine."""
        ...

    def close(self) -> None: ...


def writer_of(path: Path) -> Process | None:
    """The living process whose number stands in a file that it wrote itself; None without one.

    A process that began after the file was written only has the number by now.
    """
    try:
        pid, written = int(files.read_text(path)), path.stat().st_mtime
        held = _hold(pid) if 0 < pid < 2**31 else None
    except (OSError, ValueError):
        return None
    if held is None:
        return None
    try:
        # Windows knows a process that has ended as long as somebody holds on to it.
        if held.began() <= written + _COARSE_S and not held.wait(0):
            return held
    except (OSError, ValueError):
        pass
    held.close()
    return None


if os.name == "nt":
    import msvcrt

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.OpenProcess.restype = _kernel32.CreateFileW.restype = ctypes.c_void_p
    _WAITED = 0  # WAIT_OBJECT_0
    _INVALID = ctypes.c_void_p(-1).value

    class _Held:
        lasting = True

        def __init__(self, handle: int):
            self._handle: ctypes.c_void_p | None = ctypes.c_void_p(handle)

        def began(self) -> float:
            """When, in seconds since 1970."""
            times = [ctypes.c_uint64() for _ in range(4)]
            if not _kernel32.GetProcessTimes(self._handle, *map(ctypes.byref, times)):
                raise ctypes.WinError(ctypes.get_last_error())
            return times[0].value / 1e7 - _SINCE_1601_S

        def wait(self, patience_s: float) -> bool:
            milliseconds = ctypes.c_uint32(round(patience_s * 1000))
            return _kernel32.WaitForSingleObject(self._handle, milliseconds) == _WAITED

        def kill(self) -> None:
            _kernel32.TerminateProcess(self._handle, 1)

        def close(self) -> None:
            if self._handle is not None:
                _kernel32.CloseHandle(self._handle)
                self._handle = None

    def _hold(pid: int) -> _Held | None:
        handle = _kernel32.OpenProcess(_TERMINATE | _QUERY | _SYNCHRONIZE, False, pid)
        return _Held(handle) if handle else None

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

    class _Held:
        lasting = True

        def __init__(self, pid: int, descriptor: int):
            self._pid, self._descriptor = pid, descriptor

        def began(self) -> float:
            """When, in seconds since 1970."""
            # The name, in brackets, may hold anything.
            fields = files.read_text(f"/proc/{self._pid}/stat", "replace").rpartition(")")[2]
            since_boot_s = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
            return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s)

        def wait(self, patience_s: float) -> bool:
            poll = select.poll()  # not select: descriptors may be many
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(patience_s * 1000))

        def kill(self) -> None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

        def close(self) -> None:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    class _Number:
        lasting = False

        def __init__(self, pid: int):
            self._pid = pid

        def began(self) -> float:
            """Not known: longer ago than anything."""
            return 0.0

        def wait(self, patience_s: float) -> bool:
            deadline = time.monotonic() + patience_s
            while _lives(self._pid) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            return not _lives(self._pid)

        def kill(self) -> None:
            kill(self._pid)

        def close(self) -> None:
            """Nothing is held."""

    def _lives(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # somebody else's
        return True

    def _hold(pid: int) -> _Held | _Number | None:
        try:
            return _Held(pid, os.pidfd_open(pid)) if sys.platform == "linux" else _Number(pid)
        except ProcessLookupError:
            return None
        except (AttributeError, OSError):  # an older Linux
            return _Number(pid)

    def open_log(path: Path) -> BinaryIO:
        """A file to append to, which can be removed while it is open."""
        return path.open("ab", buffering=0)

    def stay_awake(wanted: bool) -> None:
        """Whether this machine stays awake: elsewhere that is not ours to ask."""
