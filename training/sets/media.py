"""Find photos and clips in a folder, and turn them into frames of one size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError
from . import captions, decode, tables
from .probe import Note, Probe
from .progress import Pulse
from .texts import listed
from .timing import STARTS, ClipOptions, available, choose_frames, shorter_clip_advice

__all__ = [
    "IMAGES", "STARTS", "VIDEOS", "ClipOptions", "Folder", "MediaFile", "Note", "Probe",
    "available", "choose_frames", "fit", "has_a_say", "iter_frames", "look", "probe",
    "read_caption", "scan", "shorter_clip_advice",
]  # fmt: skip  # names, several a line

IMAGES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".tga",
    ".ppm", ".pgm", ".qoi",
)  # fmt: skip  # endings, several a line
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg",
    ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mxf",
)  # fmt: skip  # endings, several a line
# Why a file is not read, by its ending, where there is something to do.
_WHY = {
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra", ".clip"), "layers; save it as PNG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".dng"), "raw; develop"
                    " it to JPEG or PNG"),
    **dict.fromkeys((".svg", ".eps", ".ai", ".pdf"), "a drawing; save it as PNG"),
    **dict.fromkeys((".exr", ".hdr"), "light without a limit; save it as PNG"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".gz"), "packed; unpack it"),
    ".parquet": "a table; save it as metadata.csv",
}  # fmt: skip  # endings, several a line
_SYSTEMS_OWN = ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r")


@dataclass(frozen=True)
class MediaFile:
    """A photo or clip, and where its caption is looked for.

    texts: the texts beside it, as they were found: that of the same name with .txt is first, also
    in other capitals, or with é as two characters. rows: what the folder's tables say of it.
    """

    path: Path
    texts: tuple[Path, ...] = ()
    rows: tuple[tuple[Path, str], ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS

    @property
    def caption_path(self) -> Path:
        """Where its caption is, or is to be written."""
        return self.texts[0] if self.texts else self.path.with_suffix(".txt")


@dataclass(frozen=True)
class Folder:
    """What lies in a folder. files: in a person's order; notes: on what is left, a line each."""

    files: list[MediaFile]
    notes: tuple[str, ...]


def has_a_say(path: Path) -> bool:
    """Whether a file of a folder can change its set: photos, clips, captions and tables of them."""
    return path.suffix.lower() in (*IMAGES, *VIDEOS, *captions.ENDINGS, *tables.ENDINGS)


def scan(folder: Path) -> list[MediaFile]:
    """The photos and clips of a folder (not of its subfolders), as a person would sort them."""
    return look(folder).files


def look(folder: Path) -> Folder:
    """The photos and clips of a folder, their captions, and what else lies there."""
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise UserError(folder, found, "a folder of photos or clips", "Check the path.")
    kinds = (*IMAGES, *VIDEOS)
    try:
        there = [path for path in folder.iterdir() if not path.name.startswith(".")]
        there.sort(key=lambda path: natural_key(path.name))
        paths = [path for path in there if path.suffix.lower() in kinds and path.is_file()]
    except OSError as error:
        raise UserError(
            folder, f"a folder that cannot be read ({error.strerror})", "a readable one",
            "Check its permissions.",
        ) from error  # fmt: skip  # file, found, expected, next move
    lost = [path.name for path in there if path.is_symlink() and not path.exists()]
    if not paths:
        raise UserError(
            folder,
            "no photo or clip"
            + (f", but links that lead nowhere ({listed(lost)})" if lost else ""),
            f"files ending in {', '.join(kind[1:] for kind in kinds)}",
            "Put them into this folder itself; subfolders are not searched.",
        )
    known = captions.gather(folder, there, [path.name for path in paths])
    files = [
        MediaFile(path, known.places(path), tuple(known.rows.get(path.name, ()))) for path in paths
    ]
    notes = [f"links that lead nowhere: {listed(lost)}"] if lost else []
    return Folder(files, (*notes, *_left(there, files, known)))


def _left(there: list[Path], found: list[MediaFile], known: captions.Captions) -> Iterator[str]:
    """What else lies in a folder, in words."""
    read = {file.path for file in found}
    read |= {path for file in found for path in file.texts}
    read |= known.tables
    rest = [path for path in there if path not in read]
    folders = [path.name for path in rest if path.is_dir()]
    if folders:
        yield f"folders inside are not searched: {listed(folders)}"
    texts = set(known.texts.values())
    if alone := [path.name for path in rest if path in texts]:
        yield f"texts that belong to no photo or clip: {listed(alone)}"
    rest = [path for path in rest if path.is_file() and path not in texts]
    # An empty file without an ending is a mark that a program left, such as this pack.
    rest = [
        p for p in rest if p.name.lower() not in _SYSTEMS_OWN and (p.suffix or p.stat().st_size)
    ]
    if rest:
        counts = Counter(path.suffix.lower() or path.name for path in rest)
        kinds = [
            f"{count} {kind}" + (f" ({_WHY[kind]})" if kind in _WHY else "")
            for kind, count in counts.items()
        ]
        others = "1 file" if len(rest) == 1 else f"{len(rest)} files"
        yield f"{others} not read: {', '.join(kinds)}"
    yield from known.notes


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which clip2 comes before clip10, whatever the file system's order."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    pairs = [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts]
    return pairs, name


def captions_of(file: MediaFile) -> list[tuple[Path, str]]:
    """Every caption of a photo or clip that says something, and where; the first is taken."""
    own = file.path.with_suffix(".txt")
    texts = file.texts or ((own,) if own.is_file() else ())
    return captions.read(texts, file.rows)


def read_caption(file: MediaFile) -> str | None:
    """The caption of a photo or clip, stripped; None when there is none."""
    found = captions_of(file)
    return found[0][1] if found else None


def probe(file: MediaFile, pulse: Pulse | None = None) -> Probe:
    """Decode a whole file once. Raises UserError, with the decoder's reason, if that fails."""
    pulse = pulse or Pulse()
    with _refusing(file, pulse):
        return decode.survey(file.path, file.is_video, pulse)


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
            picks = choose_frames(probed.times, clip, probed.last)
        except ValueError as error:
            raise UserError(
                file.path, str(error), f"at least {clip.frames}", shorter_clip_advice(clip)
            ) from error
    with _refusing(file, pulse):
        yield from decode.frames(file.path, file.is_video, picks, pulse, probed.changes)


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
        raise UserError(
            self.file.path,
            f"unreadable data ({reason[0] if reason else type(error).__name__})",
            "a playable clip" if self.file.is_video else "a picture",
            "Open it in a viewer and save it again, or remove it.",
        ) from error


def fit(
    frames: Tensor,
    size: tuple[int, int],
    crop: str = "centre",
    seed: int = 0,
    pulse: Pulse | None = None,
) -> Tensor:
    """Crop frames to the target's aspect ratio and resize: (n, 3, H, W) uint8 to 0..1 floats.

    size: (width, height). The largest part of the picture that has this aspect is kept; crop
    "random" draws its place with seed, the same for all frames. A picture that already has the
    size is not resampled, so pixel art stays exact. Returns (n, 3, height, width) float32. pulse is
    called between the steps.
    """
    width, height = size
    full_height, full_width = frames.shape[-2:]
    scale = max(width / full_width, height / full_height)
    # Cropped before it is resized: a 1 x 10000 strip must not become 512 x 5120000 first.
    kept_width = min(full_width, max(1, round(width / scale)))
    kept_height = min(full_height, max(1, round(height / scale)))
    spare_x, spare_y = full_width - kept_width, full_height - kept_height
    if crop == "random":
        # On the CPU by name: another pack may have given torch another default.
        generator = torch.Generator("cpu").manual_seed(seed)
        x = int(torch.randint(spare_x + 1, (1,), generator=generator, device="cpu"))
        y = int(torch.randint(spare_y + 1, (1,), generator=generator, device="cpu"))
    else:
        x, y = spare_x // 2, spare_y // 2
    kept = frames[..., y : y + kept_height, x : x + kept_width]
    if (kept_width, kept_height) == (width, height):
        return kept.float() / 255
    # A channel at a time: a phone's picture takes a second, and four times its bytes as floats.
    return torch.cat([_resized(part, size, pulse or Pulse()) for part in kept.split(1, 1)], 1)


def _resized(frames: Tensor, size: tuple[int, int], pulse: Pulse) -> Tensor:
    pulse()
    width, height = size
    floats = frames.float() / 255
    pulse()
    resized = F.interpolate(floats, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
