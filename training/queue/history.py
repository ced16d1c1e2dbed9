"""What pages see of a job folder: read as it grows, never twice, and thinned to a few points."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, cast

from ...common import files

POINTS = 200  # of a curve, however long the run
LOST, UNSEEN = 0.5, 0.5  # motion: share that is too little; px per frame that say nothing
MOST_BYTES = 2**22  # that are read at one look; the rest of a long file is read at the next ones


class Series:
    """A curve of at most ``limit`` points over a whole run, each the mean of equally many values.

    When it is full, neighbours are joined: nothing is dropped, and adding stays cheap.
    """

    def __init__(self, limit: int = POINTS):
        self.limit, self.width = limit, 1
        self._full: list[list[float]] = []  # [step, mean of `width` values]
        self._open: list[float] = []
        self._step = 0

    def add(self, step: int, value: float | None) -> None:
        """Append a value; one that is no number is left out."""
        if value is None:
            return
        self._open.append(value)
        self._step = step
        if len(self._open) < self.width:
            return
        self._full.append([step, _mean(self._open)])
        self._open = []
        if len(self._full) == self.limit:
            pairs = zip(self._full[::2], self._full[1::2], strict=True)
            self._full = [[b[0], (a[1] + b[1]) / 2] for a, b in pairs]
            self.width *= 2

    def points(self) -> list[list[float]]:
        """[[step, value], ...] up to the newest value."""
        newest = [[self._step, _mean(self._open)]] if self._open else []
        return [list(point) for point in (*self._full, *newest)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Tail:
    """Whole lines of a growing file of JSON objects, each once."""

    def __init__(self, path: Path):
        self.path, self._offset, self._file = path, 0, 0
        self.more = False  # whether the newest look came to no end

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """(whether the file was begun anew, new events). A missing file has none."""
        try:
            with files.opened(self.path, patience_s=0) as file:  # there is a next look
                state = os.fstat(file.fileno())
                anew = state.st_ino != self._file or state.st_size < self._offset
                self._file = state.st_ino
                self._offset = 0 if anew else self._offset
                if state.st_size == self._offset:
                    self.more = False
                    return anew, []
                file.seek(self._offset)
                text = file.read(MOST_BYTES)
        except OSError:
            return False, []
        self.more = len(text) == MOST_BYTES
        end = text.rfind(b"\n") + 1  # the rest is still being written
        text = text[:end] if end or not self.more else text
        self._offset += len(text)
        return anew, [event for line in text.splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", event) if isinstance(event, dict) else None


class History:
    """Everything that a job's events say, as curves and newest values."""

    def __init__(self, folder: Path, stage_steps: tuple[int, ...] = ()):
        self._samples_folder = folder / "samples"
        self._tail = Tail(folder / "events.jsonl")
        self._stage_steps = stage_steps
        self.version = 0  # rises when anything changed
        self._clear()

    def _clear(self) -> None:
        self.loss, self.average, self.held_out = Series(), Series(), Series()
        self.last: dict[str, Any] = {}  # the newest step
        self.drawn: dict[str, Any] = {}  # the newest item of its sets
        self.exports = 0  # how often the adapter was written
        self.note = ""  # why the newest sample failed
        self.samples = self._list_samples()
        self.scales: list[float] = []  # of the newest sample, from top to bottom
        self.motion: list[list[float]] = []  # [step, px per frame at each of its scales], a sample

    @property
    def more(self) -> bool:
        """Whether there is more to read at once: a long run's events, found by a new server."""
        return self._tail.more

    def update(self) -> None:
        """Take in what was written since."""
        anew, events = self._tail.read()
        if anew:
            self._clear()
        for event in events:
            try:
                self._take(event)
            except (TypeError, ValueError, KeyError, ArithmeticError):  # of another hand
                continue
        self.version += bool(anew or events)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind in ("step", "skipped"):
            step = self._of_all(event)
            self.loss.add(step, number(event["loss"]))
            self.average.add(step, number(event["loss_average"]))
            self.last = event
        elif kind == "drawn":
            self.drawn = event
        elif kind == "held_out":
            self.held_out.add(self._of_all(event), number(event["loss"]))
        elif kind == "exported":
            self.exports += 1
        elif kind == "sample":
            self.note, self.samples = "", self._list_samples()
            self._take_motion(event)
        elif kind == "sample_failed":
            reason = event["reason"]
            self.note = f"No sample: {reason}"[:300]

    def _take_motion(self, event: dict[str, Any]) -> None:
        """What a sample shows; nothing of a worker of before it was measured."""
        scales, motion = (
            [number(value) for value in event.get(name, ())] for name in ("scales", "motion")
        )
        if None in scales or None in motion or len(scales) != len(motion):
            return
        self.scales = cast("list[float]", scales)
        row = [self._of_all(event), *cast("list[float]", motion)]
        self.motion = [*[old for old in self.motion if old[0] != row[0]], row][-POINTS:]

    def lost_motion(self) -> tuple[float, float] | None:
        """(px per frame of the newest sample, the same without the adapter) where most is lost.

        Still-Moving (arXiv:2407.08674), section 3.3 and its ablation: a Spatial Adapter that is
        trained too long on stills learns that nothing moves.
        """
        if not self.motion or not {0.0, 1.0} <= set(self.scales):
            return None
        at = dict(zip(self.scales, self.motion[-1][1:], strict=False))
        lost = at[0.0] > UNSEEN and at[1.0] < LOST * at[0.0]
        return (at[1.0], at[0.0]) if lost else None

    def _of_all(self, event: dict[str, Any]) -> int:
        """A step counted over all stages, so that curves go from left to right."""
        return sum(self._stage_steps[: int(event["stage"])]) + int(event["step"])

    def steps_of(self, stage: int) -> int:
        """How many a stage has; 0 for one that is not there."""
        return self._stage_steps[stage] if 0 <= stage < len(self._stage_steps) else 0

    def _list_samples(self) -> list[str]:
        names = [p.name for p in self._samples_folder.glob("*.webp") if p.stem.isdecimal()]
        return sorted(names, key=lambda name: int(name.removesuffix(".webp")))


def number(value: Any) -> float | None:
    """A finite number, or None: JavaScript's JSON has no other."""
    good = isinstance(value, (int, float)) and math.isfinite(value)
    return value if good else None


def end_of(path: Path, size: int) -> str:
    """The last bytes of a file as text; empty when there is none."""
    try:
        with files.opened(path, patience_s=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size).decode("utf-8", errors="replace")
    except OSError:
        return ""
