"""Find photos and clips in a folder, and turn them into frames of one size."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common import files
from ...common.errors import UserError
from ...common.names import folded
from . import decode
from .progress import Pulse

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
VIDEOS = (".mp4", ".mov", ".webm", ".mkv")
STARTS = ("first", "centre", "random")
MAX_CAPTION_BYTES = 64 * 1024


@dataclass(frozen=True)
class MediaFile:
    """A photo or clip, and the place of its caption: the same name with .txt.

    text: a file of that name in other capitals, or with é as two characters, as it was found.
    """

    path: Path
    text: Path | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS

    @property
    def caption_path(self) -> Path:
        return self.text or self.path.with_suffix(".txt")


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


@dataclass(frozen=True)
class Probe:
    """What decoding a file from end to end showed. times: seconds, one per frame."""

    width: int
    height: int
    times: tuple[float, ...]
    moving: bool

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last; 0 for a still."""
        count = len(self.times)
        return (self.times[-1] - self.times[0]) * count / (count - 1) if count > 1 else 0.0

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a still."""
        return len(self.times) / self.duration if self.duration > 0 else 0.0


def scan(folder: Path) -> list[MediaFile]:
    """The photos and clips of a folder (not of its subfolders), as a person would sort them."""
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise UserError(folder, found, "a folder of photos or clips", "Check the path.")
    kinds = (*IMAGES, *VIDEOS)
    try:
        there = [path for path in folder.iterdir() if not path.name.startswith(".")]
        paths = [path for path in there if path.suffix.lower() in kinds and path.is_file()]
    except OSError as error:
        raise UserError(
            folder, f"a folder that cannot be read ({error.strerror})", "a readable one",
            "Check its permissions.",
        ) from error  # fmt: skip  # file, found, expected, next move
    if not paths:
        raise UserError(
            folder,
            "no photo or clip",
            f"files ending in {', '.join(kind[1:] for kind in kinds)}",
            "Put them into this folder itself; subfolders are not searched.",
        )
    texts = _texts(there)
    paths.sort(key=lambda path: natural_key(path.name))
    return [MediaFile(path, texts(path.with_suffix(".txt"))) for path in paths]


def _texts(there: list[Path]) -> Callable[[Path], Path | None]:
    """What finds a text by a name that some system's disk takes for its own."""
    exact = {path for path in there if path.suffix.lower() == ".txt" and path.is_file()}
    alike = {folded(path.name): path for path in sorted(exact, reverse=True)}
    return lambda path: path if path in exact else alike.get(folded(path.name))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which clip2 comes before clip10, whatever the file system's order."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    pairs = [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts]
    return pairs, name


def read_caption(file: MediaFile) -> str | None:
    """The text beside a photo or clip, stripped; None when there is none. UTF-8, BOM allowed."""
    path = file.caption_path
    if not path.is_file():
        return None
    expected, move = "UTF-8 text", "Save it again as UTF-8."
    try:
        if path.stat().st_size > MAX_CAPTION_BYTES:
            size, limit = path.stat().st_size, MAX_CAPTION_BYTES
            raise UserError(path, f"{size} bytes", f"at most {limit}", "Is this a caption?")
        text = files.read_text(path)
    except UnicodeDecodeError as error:
        raise UserError(path, f"other bytes at {error.start}", expected, move) from error
    except OSError as error:
        raise UserError(
            path, str(error.strerror), "a readable file", "Check its permissions."
        ) from error
    if "\0" in text:
        raise UserError(path, "zero bytes", expected, move)
    return text.strip() or None


def probe(file: MediaFile, pulse: Pulse | None = None) -> Probe:
    """Decode a whole file once. Raises UserError, with the decoder's reason, if that fails."""
    pulse = pulse or Pulse()
    with _refusing(file, pulse):
        width, height, times, moving = decode.survey(file.path, file.is_video, pulse)
    return Probe(width, height, times, moving)


def available(times: tuple[float, ...], clip: ClipOptions) -> int:
    """How many frames a clip yields at the asked fps and stride."""
    return 1 + (_ticks(times, clip) - 1) // clip.stride


def choose_frames(times: tuple[float, ...], clip: ClipOptions) -> list[int]:
    """Indices of the frames that the options ask for. Raises ValueError when too few."""
    if available(times, clip) < clip.frames:
        raise ValueError(f"{available(times, clip)} frames")
    spare = _ticks(times, clip) - ((clip.frames - 1) * clip.stride + 1)
    if clip.start == "random":
        generator = torch.Generator().manual_seed(clip.seed)
        first = int(torch.randint(spare + 1, (1,), generator=generator))
    else:
        first = spare // 2 if clip.start == "centre" else 0
    ticks = range(first, first + clip.frames * clip.stride, clip.stride)
    if clip.fps is None:
        return list(ticks)
    return [_nearest(times, times[0] + tick / clip.fps) for tick in ticks]


def _ticks(times: tuple[float, ...], clip: ClipOptions) -> int:
    if clip.fps is None:
        return len(times)
    # A quarter of a tick is let through: containers round timestamps to milliseconds.
    return int((times[-1] - times[0]) * clip.fps + 0.25) + 1


def _nearest(times: tuple[float, ...], time: float) -> int:
    # Nearest and not "the one on screen": rounded timestamps would repeat one and drop the next.
    after = min(bisect_left(times, time), len(times) - 1)
    before = max(after - 1, 0)
    return before if time - times[before] <= times[after] - time else after


def iter_frames(
    file: MediaFile, clip: ClipOptions, probed: Probe | None = None, pulse: Pulse | None = None
) -> Iterator[Tensor]:
    """A photo (one frame) or the chosen frames of a clip, each (3, H, W) uint8.

    One at a time, because a long 4K clip does not fit in memory at once. probed spares a second
    look through the file. Raises UserError for a file that cannot be decoded or is too short.
    """
    pulse = pulse or Pulse()
    probed = probed or probe(file, pulse)
    if not probed.moving:
        picks = [0]
    else:
        try:
            picks = choose_frames(probed.times, clip)
        except ValueError as error:
            raise UserError(
                file.path, str(error), f"at least {clip.frames}", shorter_clip_advice(clip)
            ) from error
    with _refusing(file, pulse):
        yield from decode.frames(file.path, file.is_video, picks, pulse)


def shorter_clip_advice(clip: ClipOptions) -> str:
    used = [f"frames ({clip.frames})"]
    used += [f"stride ({clip.stride})"] if clip.stride > 1 else []
    used += [f"fps ({clip.fps:g})"] if clip.fps else []
    return f"Lower {', '.join(used)}, or use a longer clip."


class _refusing:
    """Turns whatever a decoder raises on a damaged file into one UserError about that file.

    What the pulse was stopped with stays what it is.
    """

    def __init__(self, file: MediaFile, pulse: Pulse):
        self.file, self.pulse = file, pulse

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Pillow and FFmpeg raise nearly every type there is on damaged bytes (struct.error,
        # SyntaxError, IndexError, ...), so this boundary names none of them.
        if isinstance(error, UserError) or not isinstance(error, Exception):
            return
        if error is self.pulse.raised:
            return
        # strerror spares a person FFmpeg's error numbers.
        message = str(getattr(error, "strerror", None) or error)
        reason = message.replace(str(self.file.path), "the file").strip().splitlines()
        expected = "a playable clip" if self.file.is_video else "a jpg, png, webp or gif picture"
        raise UserError(
            self.file.path,
            f"unreadable data ({reason[0] if reason else type(error).__name__})",
            expected,
            "Open it in a viewer and save it again, or remove it.",
        ) from error


def fit(frames: Tensor, size: tuple[int, int], crop: str = "centre", seed: int = 0) -> Tensor:
    """Crop frames to the target's aspect ratio and resize: (n, 3, H, W) uint8 to 0..1 floats.

    size: (width, height). The largest part of the picture that has this aspect is kept; crop
    "random" draws its place with seed, the same for all frames. A picture that already has the
    size is not resampled, so pixel art stays exact. Returns (n, 3, height, width) float32.
    """
    width, height = size
    full_height, full_width = frames.shape[-2:]
    scale = max(width / full_width, height / full_height)
    # Cropped before it is resized: a 1 x 10000 strip must not become 512 x 5120000 first.
    kept_width = min(full_width, max(1, round(width / scale)))
    kept_height = min(full_height, max(1, round(height / scale)))
    spare_x, spare_y = full_width - kept_width, full_height - kept_height
    if crop == "random":
        generator = torch.Generator().manual_seed(seed)
        x = int(torch.randint(spare_x + 1, (1,), generator=generator))
        y = int(torch.randint(spare_y + 1, (1,), generator=generator))
    else:
        x, y = spare_x // 2, spare_y // 2
    kept = frames[..., y : y + kept_height, x : x + kept_width].float() / 255
    if (kept_width, kept_height) == (width, height):
        return kept
    resized = F.interpolate(kept, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
