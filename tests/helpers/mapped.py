"""Whether this process keeps Windows from replacing a file, because it has it mapped or open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def is_kept(path: Path) -> bool:
    """On Windows by trying; on Linux, where nothing is kept, by what the system lists."""
    path = path.resolve()
    if os.name == "nt":
        aside = path.with_name("aside")
        try:
            os.replace(path, aside)  # refused for what is open, and granted for what is mapped
            aside.write_bytes(aside.read_bytes())  # refused for what is mapped
        except OSError:
            return True
        finally:
            if aside.exists():
                os.replace(aside, path)
        return False
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return str(path) in mapped or any(
        link.is_symlink() and os.readlink(link) == str(path) for link in links
    )


def shut(path: Path, seconds: float) -> None:
    """Have a file open, as a virus scanner has it, so that nobody else can: on Windows only."""
    import ctypes
    import threading

    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]  # only there
    kernel.CreateFileW.restype = ctypes.c_void_p
    kernel.CloseHandle.argtypes = [ctypes.c_void_p]
    reading, sharing_nothing, existing = 0x80000000, 0, 3
    handle = kernel.CreateFileW(str(path), reading, sharing_nothing, None, existing, 0, None)
    threading.Timer(seconds, kernel.CloseHandle, [handle]).start()
