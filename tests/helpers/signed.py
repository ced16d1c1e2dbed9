"""What a process would have signed, for processes that do not."""

from pathlib import Path

from still_moving.common import signatures


def signed(path: Path, pid: int) -> signatures.Process:
    """Sign a file in the name of a living process; the hold on it that the file gives."""
    held = signatures._hold(pid)
    assert held is not None
    path.write_text(f"{pid}\n{held.identity()}\n", encoding="utf-8")
    held.close()
    writer = signatures.writer_of(path)
    assert writer is not None
    return writer
