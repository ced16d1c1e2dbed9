"""What a look through a file shows: its size as it is shown, its times, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass

# Changes that count only where frames are chosen by their times.
UNTIMED, SHORT_DELAYS, GOES_ON = "untimed", "as browsers time it", "goes on"
TIMING = UNTIMED, SHORT_DELAYS, GOES_ON


@dataclass(frozen=True)
class Note:
    """What works but may surprise: what is said of several files at once, and of this one."""

    what: str
    more: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.more}".rstrip()


@dataclass(frozen=True)
class Probe:
    """What decoding a file from end to end showed.

    width, height: of the frames as they are shown. times: seconds, one per frame. last: for how
    many seconds the last one is shown; 0 where the file does not say. changes: how its pixels or
    times differ from what versions that knew less made of the file; cached sets go by it.
    """

    width: int
    height: int
    times: tuple[float, ...]
    moving: bool
    last: float = 0.0
    changes: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last; 0 for a still."""
        count = len(self.times)
        if count < 2:
            return 0.0
        shown = self.times[-1] - self.times[0]
        return shown + self.last if self.last else shown * count / (count - 1)

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a still."""
        return len(self.times) / self.duration if self.duration > 0 else 0.0
