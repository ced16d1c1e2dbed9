"""What went over the bus and who waited for the device, by the line of the pack that did it."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from pathlib import Path

import torch

from .library import FIELDS, card

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
_FREE = ("h2d", "d2h")  # copies that pass by while the host goes on


class Watch:
    """Within ``with``; afterwards:

    counted: what has changed of ``library.FIELDS``.
    places: how often (what, where), where as "training/stage/loop.py:260".
    peak: bytes that torch held at most.
    """

    def __init__(self) -> None:
        self.places: Counter[tuple[str, str]] = Counter()
        self.counted: dict[str, int] = {}
        self.peak = 0

    def __enter__(self) -> Watch:
        self._before = card().counts()
        torch.cuda.reset_peak_memory_stats()
        card().listen(self._hear)
        return self

    def __exit__(self, *_error: object) -> None:
        card().listen(None)
        after = card().counts()
        changed = {name: after[name] - self._before[name] for name in FIELDS}
        self.counted = {name: change for name, change in changed.items() if change}
        self.peak = torch.cuda.max_memory_allocated()

    @property
    def stalls(self) -> dict[tuple[str, str], int]:
        """Where the host waited, or copied from or to pageable memory: what costs it time."""
        return {place: n for place, n in self.places.items() if place[0] not in _FREE}

    def _hear(self, what: str, _nbytes: int) -> None:
        self.places[what, _place()] += 1


def _place() -> str:
    """The innermost line of the pack in this thread, or else of anybody but the card."""
    frames = [frame for frame in traceback.extract_stack() if not _inside(frame.filename, HERE)]
    own = [frame for frame in frames if _inside(frame.filename, ROOT)]
    for frame in reversed(own or frames):
        path = Path(frame.filename)
        name = path.relative_to(ROOT) if own else path.name
        return f"{name}:{frame.lineno}"
    return threading.current_thread().name


def _inside(file: str, folder: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(folder) and ".venv" not in path.parts
