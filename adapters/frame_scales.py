"""A scale that differs from frame to frame of a clip: key frames, and what lies between them."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..common.errors import UserError
from .scale_schedule import Curve, ScaleSchedule

SUBJECT = "Scale over Frames"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
# "8: 0.5", and as prompt schedules of other packs write it: "8" : (0.5)
_KEY = re.compile(rf'"?(\d+\.?\d*)\s*(%?)"?\s*[:=]\s*\(?\s*({_NUMBER})\s*\)?')
_PLAIN = re.compile(_NUMBER)


@dataclass(frozen=True)
class FrameScales:
    """Scales at key frames; the first and the last hold to the clip's ends.

    keys: (position, scale), positions rising: frames counted from 0, or percent of the clip from
    its first frame (0) to its last (100). curve: linear; smooth (half a cosine); step (holds a
    scale until the next key). times: what the scale is multiplied with, over steps or frames.
    """

    keys: tuple[tuple[float, float], ...]
    in_percent: bool = False
    curve: Curve = "linear"
    times: ScaleSchedule | FrameScales | None = None

    def at(self, progress: float, frames: Sequence[int], total: int) -> list[float]:
        """The scales of frames of a clip of `total` at a point of sampling (0 to 1)."""
        if isinstance(self.times, FrameScales):
            factors = self.times.at(progress, frames, total)
        else:
            factors = [self.times.at(progress) if self.times else 1.0] * len(frames)
        last = max(total - 1, 1)
        places = [100 * f / last if self.in_percent else float(f) for f in frames]
        return [self._between(p) * factor for p, factor in zip(places, factors, strict=True)]

    def _between(self, place: float) -> float:
        after = bisect_right(self.keys, place, key=lambda key: key[0])
        if after == 0:
            return self.keys[0][1]
        begun, start = self.keys[after - 1]
        if after == len(self.keys) or self.curve == "step":
            return start
        done, end = self.keys[after]
        part = (place - begun) / (done - begun)
        if self.curve == "smooth":
            part = 0.5 - 0.5 * math.cos(math.pi * part)
        return start + (end - start) * part


Scale = float | ScaleSchedule | FrameScales


def simplest(scale: Scale) -> Scale:
    """The same scale, a number where neither frame nor step changes it: that costs least."""
    if isinstance(scale, FrameScales):
        times = 1.0 if scale.times is None else simplest(scale.times)
        scales = {value for _, value in scale.keys}
        if len(scales) == 1:
            scale = _scaled(times, scales.pop())
        elif isinstance(times, FrameScales | ScaleSchedule):
            scale = replace(scale, times=times)
        else:
            scale = _scaled(replace(scale, times=None), times)
    if isinstance(scale, ScaleSchedule) and scale.start == scale.end:
        return float(scale.start)
    return scale


def _scaled(scale: Scale, factor: float) -> Scale:
    if factor == 0:
        return 0.0
    if isinstance(scale, ScaleSchedule):
        return replace(scale, start=factor * scale.start, end=factor * scale.end)
    if isinstance(scale, FrameScales):
        return replace(scale, keys=tuple((at, factor * value) for at, value in scale.keys))
    return factor * scale


def parse_key_frames(
    text: str, curve: Curve, times: ScaleSchedule | FrameScales | None = None
) -> FrameScales:
    """Key frames as a person writes them: "frame: scale" or "percent%: scale", or scales alone.

    One a line, or behind commas; scales alone are those of frame 0, 1, 2 and so on. What comes
    after # is a remark. Raises UserError for anything else.
    """
    lines = (line.split("#")[0] for line in text.splitlines())
    parts = [part.strip() for line in lines for part in line.split(",")]
    parts = [part for part in parts if part]
    if parts and all(_PLAIN.fullmatch(part) for part in parts):
        return FrameScales(tuple(enumerate(map(float, parts))), False, curve, times)
    found = [(part, _KEY.fullmatch(part)) for part in parts]
    wrong = next((part for part, match in found if match is None), None)
    if wrong is not None or not parts:
        raise UserError(
            SUBJECT, f"the key frame {wrong!r}" if parts else "no key frame",
            "lines like '8: 0.5' or '50%: 0.5', or scales alone behind commas",
            "Write a frame, a colon and the scale there.",
        )  # fmt: skip  # file, found, expected, next move
    keys = [(float(m[1]), float(m[3]), m[2]) for _, m in found if m is not None]
    if len({unit for *_, unit in keys}) > 1:
        raise UserError(
            SUBJECT, "key frames in frames and in percent", "all in one of the two",
            "Put a % behind every place, or behind none.",
        )  # fmt: skip  # file, found, expected, next move
    in_percent = keys[0][2] == "%"
    _refuse_places([place for place, *_ in keys], in_percent)
    return FrameScales(tuple((at, scale) for at, scale, _ in keys), in_percent, curve, times)


def _refuse_places(places: list[float], in_percent: bool) -> None:
    """Raise UserError unless places rise, whole for frames and up to 100 for percent."""
    for before, place in pairwise(places):
        if place <= before:
            raise UserError(
                SUBJECT, f"{place:g} after {before:g}", "key frames that rise, each once",
                "Put them in the order of the clip.",
            )  # fmt: skip  # file, found, expected, next move
    strange = [p for p in places if (p > 100 if in_percent else p % 1)]
    if strange:
        unit, wanted = ("%", "0% to 100%") if in_percent else ("", "whole frames, from 0 on")
        raise UserError(
            SUBJECT, f"a key frame at {strange[0]:g}{unit}", wanted,
            "Change that line; with a % behind it a place is a part of the clip.",
        )  # fmt: skip  # file, found, expected, next move
