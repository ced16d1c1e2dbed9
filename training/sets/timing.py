"""Which frames of a clip are taken: by their times, as somebody who watches it would see them."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from dataclasses import dataclass

import torch

from ...common.errors import UserError
from .probe import Probe

STARTS = ("first", "centre", "random")


@dataclass(frozen=True)
class ClipOptions:
    """Which frames of a clip are taken. Raises UserError for a value out of range.

    fps: take frames at this rate by their timestamps (None: as filmed); then every stride-th.
    start: where in a longer clip: "first", "centre", or "random" (drawn with seed).
    """

    frames: int = 16
    fps: float | None = None
    stride: int = 1
    start: str = "centre"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            name = "frames" if self.frames < 1 else "stride"
            raise UserError(
                name, str(getattr(self, name)), "1 or more", "Raise it, or leave it out."
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UserError(
                "fps", str(self.fps), "more than 0, at most 1000", "Leave it out to keep all."
            )
        if self.start not in STARTS:
            raise UserError("start", repr(self.start), " or ".join(STARTS), "Choose one of these.")


def available(times: tuple[float, ...], clip: ClipOptions, last: float = 0.0) -> int:
    """How many frames a clip yields at the asked fps and stride. last: see Probe."""
    return 1 + (_ticks(times, clip, last) - 1) // clip.stride


def choose_frames(times: tuple[float, ...], clip: ClipOptions, last: float = 0.0) -> list[int]:
    """Indices of the frames that the options ask for. Raises ValueError when too few."""
    ticks = _chosen_ticks(_ticks(times, clip, last), clip)
    if clip.fps is None:
        return list(ticks)
    # At most half a tick before its time: one that stays on the screen for long gives way when it
    # does there. Within that the nearest, because containers round their times.
    early = 0.5 / clip.fps
    return [_shown(times, times[0] + tick / clip.fps, early) for tick in ticks]


def chosen_otherwise(probed: Probe, clip: ClipOptions) -> bool:
    """Whether versions that went by the nearest frame, and knew no last one's stay, took others."""
    times = probed.times
    if clip.fps is None or not probed.moving:
        return False
    try:
        before = _chosen_ticks(_ticks(times, clip, 0.0), clip)
    except ValueError:  # too few for them
        return True
    nearest = [_shown(times, times[0] + tick / clip.fps, float("inf")) for tick in before]
    return nearest != choose_frames(times, clip, probed.last)


def _chosen_ticks(count: int, clip: ClipOptions) -> range:
    spare = count - ((clip.frames - 1) * clip.stride + 1)
    if spare < 0:
        raise ValueError(f"{1 + (count - 1) // clip.stride} frames")
    if clip.start == "random":
        generator = torch.Generator("cpu").manual_seed(clip.seed)
        first = int(torch.randint(spare + 1, (1,), generator=generator, device="cpu"))
    else:
        first = spare // 2 if clip.start == "centre" else 0
    return range(first, first + clip.frames * clip.stride, clip.stride)


def _ticks(times: tuple[float, ...], clip: ClipOptions, last: float) -> int:
    if clip.fps is None:
        return len(times)
    # A quarter of a tick is let through: containers round timestamps to milliseconds.
    begun = int((times[-1] - times[0]) * clip.fps + 0.25)
    return begun + max(1, int(last * clip.fps + 0.25))


def in_order(said: list[float | None], step: float) -> tuple[list[float], bool]:
    """The times at which a player shows frames that say these, and whether it goes on by itself.

    step: seconds between frames, for those that say nothing. Times that start again, as where two
    recordings are joined, go on behind what was; frames that say the same share what is left.
    """
    spread = _spread(said, step)
    times: list[float] = []
    begun, seen, behind = spread != said, set[int](), 0.0
    for own in spread:
        if own is None:
            times.append(times[-1] + step if times else 0.0)
            continue
        time = own + behind
        # Frames that only come out of their order fall between others, not on them.
        again = round(own / step) in seen or own < (spread[0] or 0.0)
        if times and time < times[-1] - step and again:
            behind += times[-1] + step - time
            time, begun = times[-1] + step, True
        elif times and time <= times[-1]:  # follows at once
            time = times[-1] + 1e-3
        seen.add(round(own / step))
        times.append(time)
    return times, begun


def _spread(said: list[float | None], step: float) -> list[float | None]:
    """Without frames in a row that say the same time."""
    spread: list[float | None] = []
    for time, run in itertools.groupby(said):
        count = len(list(run))
        after = said[len(spread) + count] if len(spread) + count < len(said) else None
        if time is None or count == 1:
            spread += [time] * count
            continue
        share = (after - time) / count if after is not None and after > time else step
        spread += [time + index * share for index in range(count)]
    return spread


def _shown(times: tuple[float, ...], time: float, early: float) -> int:
    """The nearest frame among those whose time has come, or comes this early."""
    after = min(bisect_left(times, time), len(times) - 1)
    before = max(after - 1, 0)
    if times[after] - time > early:
        return before
    return before if time - times[before] <= times[after] - time else after


def shorter_clip_advice(clip: ClipOptions) -> str:
    used = [f"frames ({clip.frames})"]
    used += [f"stride ({clip.stride})"] if clip.stride > 1 else []
    used += [f"fps ({clip.fps:g})"] if clip.fps else []
    return f"Lower {', '.join(used)}, or use a longer clip."
