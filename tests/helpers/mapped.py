"""Whether this process keeps Windows from replacing a file, because it has it mapped or open."""

from __future__ import annotations

import os
from pathlib import Path


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
