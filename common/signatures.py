"""Processes that are known for certain: by what they have signed, never by a number alone.

Only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from . import files
from .processes import kill

_TERMINATE, _QUERY, _SYNCHRONIZE = 0x1, 0x1000, 0x100000  # Windows' own numbers
_POLL_S = 0.05
_PS_PATIENCE_S = 5.0


class Process(Protocol):
    """A hold on a process that this one did not start: never on another that has its number by now.

    identity: what no other process has, on any machine, at any time. Where the system keeps no
    hold on a process (before Linux 5.3, macOS), that is compared once more before it is ended.
    """

    def identity(self) -> str:
        """Raises OSError or ValueError where it cannot be told."""
        ...

    def wait(self, patience_s: float) -> bool:
        """Whether it ends within that time. False, too, where that cannot be told."""
        ...

    def kill(self) -> None:
        """End it at once; one that is gone already is fine."""
        ...

    def close(self) -> None: ...


def signature() -> str:
    """What a process writes into a file to be known by it: its number, then its identity.

    A number alone is nothing: where containers or machines share a folder, the process that has
    it here is another one than there.
    """
    pid, held = os.getpid(), None
    try:
        held = _hold(pid)
        return f"{pid}\n{held.identity() if held else ''}\n"
    except (OSError, ValueError):
        return f"{pid}\n\n"
    finally:
        if held is not None:
            held.close()


def writer_of(path: Path) -> Process | None:
    """The living process that has signed a file; None without one, and where that is not certain.

    Where no identity stands in it, as older versions wrote it, nobody knows whose number that is.
    """
    try:
        number, known = files.read_text(path).splitlines()[:2]
        pid = int(number)
        held = _hold(pid) if known and 0 < pid < 2**31 else None
    except (OSError, ValueError):
        return None
    if held is None:
        return None
    try:
        # Windows knows a process that has ended as long as somebody holds on to it.
        if held.identity() == known and not held.wait(0):
            return held
    except (OSError, ValueError):
        pass
    held.close()
    return None


def begun(pid: int) -> str:
    """When a process began, to the second, as ps says it on every system that has it.

    Raises OSError where it cannot be told.
    """
    command, setting = ["ps", "-o", "lstart=", "-p", str(pid)], {"LC_ALL": "C", "TZ": "UTC0"}
    try:
        answer = subprocess.run(
            command, env={**os.environ, **setting}, capture_output=True, timeout=_PS_PATIENCE_S
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(str(error)) from None
    text = " ".join(answer.stdout.decode("ascii", "replace").split())
    if answer.returncode or not text:
        raise ProcessLookupError(f"no process {pid}")
    return text


if os.name == "nt":
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.OpenProcess.restype = ctypes.c_void_p
    _WAITED = 0  # WAIT_OBJECT_0

    class _Held:
        def __init__(self, handle: int):
            self._handle: ctypes.c_void_p | None = ctypes.c_void_p(handle)

        def identity(self) -> str:
            """The machine, and when it began, in steps of 100 ns."""
            times = [ctypes.c_uint64() for _ in range(4)]
            if not _kernel32.GetProcessTimes(self._handle, *map(ctypes.byref, times)):
                raise ctypes.WinError(ctypes.get_last_error())
            return f"{socket.gethostname()} {times[0].value}"

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
else:

    def _identity(pid: int) -> str:
        if sys.platform != "linux":
            return f"{socket.gethostname()} {begun(pid)}"
        boot = files.read_text("/proc/sys/kernel/random/boot_id").strip()
        # A number is one of its container's; the name, in brackets, may hold anything.
        fields = files.read_text(f"/proc/{pid}/stat", "replace").rpartition(")")[2].split()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {fields[19]}"

    class _Held:
        def __init__(self, pid: int, descriptor: int):
            self._pid, self._descriptor = pid, descriptor

        def identity(self) -> str:
            """The machine's start, the numbers' container, and when it began since that start."""
            return _identity(self._pid)

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
        def __init__(self, pid: int):
            self._pid, self._known = pid, _identity(pid)

        def identity(self) -> str:
            return self._known

        def wait(self, patience_s: float) -> bool:
            deadline = time.monotonic() + patience_s
            while _lives(self._pid) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            return not _lives(self._pid)

        def kill(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                if _identity(self._pid) == self._known:
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
