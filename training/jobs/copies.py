"""How a copy of an export is called and known until it has its place, and whose it is."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path

from ...common import files
from .job import JobFolder


def stamp_of(path: Path) -> str:
    """The time and the size of a file, by which its copy is known; empty where there is none."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


def time_in(stamp: str) -> int:
    """When a file that is there was written, in ns."""
    return int(stamp.partition("-")[0])


def copy_name(id: str, name: str) -> str:
    """A name of one job's export alone; no loader takes it for an adapter."""
    return f".sm-{hashlib.sha256(f'{id}/{name}'.encode()).hexdigest()[:10]}.part"


def sweep_copies(folder: Path, jobs: Path) -> None:
    """Remove the copies that waited in a folder for jobs that are gone; they would fill a disk.

    A whole copy is as old as its export, so its own age is when this disk got it: one of another
    root's job that waits so long is removed, too, and copied again.
    """
    with contextlib.suppress(OSError):  # a folder that cannot be listed says of nobody he is gone
        old = [path for path in folder.glob(".sm-*.part") if _age_s(path) > files.ABANDONED_S]
        living = _names_below(jobs) if old else set[str]()
        for path in old:
            if path.name not in living:
                files.discard(path)


def _names_below(jobs: Path) -> set[str]:
    exports = [(job.name, JobFolder(job).exports) for job in jobs.iterdir()]
    there = [(id, folder) for id, folder in exports if folder.is_dir()]
    return {copy_name(id, path.name) for id, folder in there for path in folder.iterdir()}


def _age_s(path: Path) -> float:
    state = path.stat()
    return time.time() - max(state.st_mtime, state.st_ctime)
