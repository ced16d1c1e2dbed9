"""What a person may choose about a cached set, checked where it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...common.errors import UserError
from .texts import lines_of
from .timing import ClipOptions

KINDS = ("auto", "stills", "clips")
CROPS = ("centre", "random")
MAX_SIDE = 4096


@dataclass(frozen=True)
class CacheOptions:
    """How photos or clips become training items. Raises UserError for a value out of range.

    kind: "stills", "clips", or "auto" (what the folder holds, when it holds one of the two).
    width, height: pixels, multiples of 8. prompt: captions of files that have none: one line for
    all of them, or a line for each in the folder's order.
    frames, fps, stride, start: see ClipOptions; they count for clips only.
    skip_unreadable: leave out files that cannot be used, instead of stopping. timed: whether clips
    have a rate of their own; frames that came without one cannot be resampled.
    """

    kind: str = "auto"
    width: int = 512
    height: int = 512
    prompt: str | None = None
    frames: int = 16
    fps: float | None = None
    stride: int = 1
    start: str = "centre"
    crop: str = "centre"
    seed: int = 0
    skip_unreadable: bool = False
    timed: bool = True

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("crop", CROPS)):
            if getattr(self, name) not in known:
                raise UserError(
                    name, repr(getattr(self, name)), " or ".join(known), "Choose one of these."
                )
        for name in ("width", "height"):
            side = getattr(self, name)
            if not isinstance(side, int) or side % 8 or not 8 <= side <= MAX_SIDE:
                near = min(max(8, round(side / 8) * 8), MAX_SIDE)
                raise UserError(
                    name, str(side), f"a multiple of 8 from 8 to {MAX_SIDE}", f"{near} would do."
                )
        if self.prompt is not None and not self.prompt.strip():
            raise UserError(
                "prompt", "empty text", "words", "Write the prompt, or leave the option out."
            )
        _ = self.clip  # checks the clip fields
        self._check_times()

    def _check_times(self) -> None:
        if self.timed or (self.fps is None and self.stride == 1):
            return
        name, value, plain = ("fps", f"{self.fps:g}", 0) if self.fps else ("stride", self.stride, 1)
        raise UserError(
            name, str(value), f"{plain} for connected frames, which have no rate of their own",
            "Connect the frames that you mean, or name a folder of clips.",
        )  # fmt: skip  # subject, found, expected, next move

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def clip(self) -> ClipOptions:
        return ClipOptions(self.frames, self.fps, self.stride, self.start, self.seed)

    @property
    def prompt_lines(self) -> list[str]:
        return lines_of(self.prompt or "")

    def decoding(self, kind: str) -> dict[str, Any]:
        """The choices that change what a file of this kind looks like to the encoder."""
        chosen: dict[str, Any] = {"size": list(self.size), "crop": self.crop}
        if kind == "clips":
            chosen |= {"frames": self.frames, "fps": self.fps}
            chosen |= {"stride": self.stride, "start": self.start}
        if self.crop == "random" or (kind == "clips" and self.start == "random"):
            chosen["seed"] = self.seed
        return chosen

    def to_json(self) -> dict[str, Any]:
        given = asdict(self)
        del given["timed"]  # it changes nothing that is allowed, and old sets are found without it
        return given
