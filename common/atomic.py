"""Writing a file so that a reader, or a crash, sees the old one or the new one and nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from . import files
from .long_paths import too_long


@contextmanager
def atomic_path(path: Path | str, patience_s: float | None = None) -> Generator[Path, None, None]:
    """Yield a temporary path beside `path`; it takes the name of `path` when the block succeeds.

    On any exception the temporary file goes away and the old file stays as it was.
    patience_s: how long each refusal is outlasted, as in ``files.patient``. A temporary file that
    somebody holds for longer is left for ``files.sweep``.
    """
    path = Path(path)
    temporary = files.temporary_beside(path)
    try:
        yield temporary
        sync_file(temporary, patience_s)
        files.replace(temporary, path, patience_s)
    except BaseException as error:
        with contextlib.suppress(OSError):
            files.remove(temporary, patience_s)
        if isinstance(error, OSError) and (long := too_long(error, files.WINDOWS)):
            raise long from error
        raise
    sync_folder(path.parent)


def atomic_write_bytes(path: Path | str, data: bytes, patience_s: float | None = None) -> None:
    with atomic_path(path, patience_s) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path | str, text: str, patience_s: float | None = None) -> None:
    """Write UTF-8 with the line endings of `text`, the same on every system."""
    atomic_write_bytes(path, text.encode("utf-8"), patience_s)


def sync_file(path: Path, patience_s: float | None = None) -> None:
    # Opened for writing because Windows cannot fsync a descriptor that is read-only.
    with files.opened(path, "r+b", patience_s) as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    # Some systems, Windows among them, cannot open or fsync a folder; the rename then has no
    # stronger guarantee than the system gives.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
