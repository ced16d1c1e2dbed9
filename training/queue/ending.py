"""The end of a worker whose job is being deleted: asked for, waited for, and brought about."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

from ...common import signatures, system
from ...common.errors import UserError
from ..jobs.job import JobFolder

_END_PATIENCE_S = 2.0  # for a process to end after it let the lock go, or was killed
_POLL_S = 0.05


def end_worker(folder: JobFolder, child: subprocess.Popen[Any] | None, patience_s: float) -> bool:
    """Ask a worker to stop, and kill it when it does not listen; returns whether it is gone.

    child: the worker, where this process started it. Whoever holds the lock is known by what it
    has signed; another that only has its number, here, is never killed.
    """
    holder = signatures.writer_of(folder.pid) if is_held(folder) else None
    try:
        _ask(folder, patience_s)
        if is_held(folder):
            if holder is not None:  # one that had just begun has signed since
                holder.close()
            holder = signatures.writer_of(folder.pid)
            _kill(child, holder)
        else:  # it has said its last word
            _kill(child, None)
            if holder is not None and not holder.wait(_END_PATIENCE_S):
                _kill(None, holder)
    finally:
        if holder is not None:
            holder.close()
    deadline = time.monotonic() + _END_PATIENCE_S
    while is_held(folder) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return not is_held(folder)


def _ask(folder: JobFolder, patience_s: float) -> None:
    """Have the worker stop; returns when it has let the lock go, or patience is at its end."""
    deadline = time.monotonic() + patience_s
    try:
        folder.send("stop")
    except (OSError, UserError):
        return
    while is_held(folder) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _kill(child: subprocess.Popen[Any] | None, holder: signatures.Process | None) -> None:
    if child is not None:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_END_PATIENCE_S)
    if holder is not None:
        holder.kill()
        holder.wait(_END_PATIENCE_S)


def is_held(folder: JobFolder) -> bool:
    """Whether a worker holds a job's lock; yes, while the system does not let us look."""
    try:
        return system.is_held(folder.lock)
    except PermissionError:
        return True  # a virus scanner has it, say, and a worker, too, perhaps
    except OSError:
        return False  # where there are no locks there is no worker
