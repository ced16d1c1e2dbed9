"""From a folder of photos or clips to a cached set: look, encode what is new, commit."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...adapters.files.tensors import file_hash
from ...common import files
from ...common.errors import UserError
from ...common.names import check_new_path
from . import sheet
from .encoders import Encoder
from .media import MediaFile, fit, iter_frames
from .options import CacheOptions
from .preflight import Entry, Report, preflight
from .probe import TIMING, Probe
from .progress import ENCODING, Progress, Pulse
from .store import FORMAT, LoadedSet, Record, SetWriter, content_key, load_set, object_name
from .timing import ClipOptions, chosen_otherwise

__all__ = ["CacheOptions", "build_from", "build_set", "fitted"]

# Raise it when decoding or fitting changes for every file, so that old objects are not taken for
# new. What changes for some files is named in their Probe instead, and all others are found again.
DECODING = 1


@dataclass(frozen=True)
class Encoded:
    """A file's item, and what was learned on the way: its sha256, its thumbnail if it was decoded.

    Both are needed for the contact sheet, and finding them again costs a decode and a hash.
    """

    record: Record
    entry: Entry
    digest: str
    thumbnail: Tensor | None


def build_set(
    folder: Path | str,
    out: Path | str,
    encoder: Encoder,
    options: CacheOptions,
    progress: Progress | None = None,
) -> LoadedSet:
    """Look through a folder, encode it into the cached set at `out`, and load that.

    progress: see `build_from`. Raises UserError as that does, and for a folder that cannot be read
    at all.
    """
    _refuse_own_folder(Path(folder), Path(out))  # before a look that may take minutes
    return build_from(preflight(folder, options, progress), out, encoder, progress)


def build_from(
    report: Report, out: Path | str, encoder: Encoder, progress: Progress | None = None
) -> LoadedSet:
    """Encode what a preflight saw into the cached set at `out`, and load it, with the notes on it.

    What `out` already holds of the same bytes, caption, options and encoder is kept as it is. A
    new file is decoded once and hashed once. Raises UserError for anything in the folder or `out`
    that a person must mend; `out` is then as it was before, and so it is when `progress` raises,
    which is called at every file and several times a second between.
    """
    out = check_new_path(Path(out))
    _refuse_own_folder(report.folder, out)
    report.check()
    pulse = Pulse(progress, ENCODING, len(report.usable))
    try:
        with SetWriter(out) as writer:
            _build(report, writer, encoder, pulse)
    except OSError as error:
        if error is pulse.raised:
            raise
        raise UserError(
            out, f"a folder that cannot be written ({error.strerror or error})",
            "a place with room and permission", "Free some space, or choose another folder.",
        ) from error  # fmt: skip  # file, found, expected, next move
    return replace(load_set(out), notes=tuple(report.notes()))


def _refuse_own_folder(folder: Path, out: Path) -> None:
    if files.same(out, folder):
        raise UserError(
            out, "the folder of the photos or clips itself", "another folder",
            "The set's own picture would count as a photo: choose another place for the set.",
        )  # fmt: skip  # file, found, expected, next move


def _build(report: Report, writer: SetWriter, encoder: Encoder, pulse: Pulse) -> None:
    # Captions first: one that the encoder refuses shows before minutes of encoding.
    texts = _encode_captions(report, writer, encoder, pulse)
    encoded: list[Encoded] = []
    for entry in report.usable:
        pulse.at(len(encoded))
        item = _encode_entry(entry, texts[str(entry.caption)], report, writer, encoder, pulse)
        if len(encoded) >= sheet.MAX_ITEMS:  # not shown: thousands of them would fill the memory
            item = replace(item, thumbnail=None)
        encoded.append(item)
    records = [item.record for item in encoded]
    manifest = {
        "format": FORMAT,
        "kind": report.kind,
        "encoder": encoder.id,
        "options": report.options.decoding(report.kind),
        "items": [{**vars(record), "size": list(record.size)} for record in records],
    }
    if not writer.is_current(manifest):
        writer.commit(manifest, _draw_sheet(report, encoded, pulse))
    writer.sweep(records)
    pulse.at(len(encoded))


def _encode_captions(
    report: Report, writer: SetWriter, encoder: Encoder, pulse: Pulse
) -> dict[str, str]:
    """The text object's key of every caption."""
    keys: dict[str, str] = {}
    for entry in report.usable:
        pulse()
        caption = str(entry.caption)
        if caption in keys:
            continue
        key = keys[caption] = _text_key(caption, encoder)
        if writer.holds(key, "text"):
            continue
        try:
            text = encoder.encode_prompt(caption)
        except UserError as error:
            raise UserError(
                entry.file.path, error.found, error.expected, error.next_move
            ) from error
        writer.add(key, "text", text)
    return keys


def _text_key(caption: str, encoder: Encoder) -> str:
    sections = getattr(encoder, "sections", None)  # only CLIP reads in sections
    # Versions that cut a caption off after its first section must not be taken for this one.
    whole = ["whole"] if sections is not None and sections(caption) > 1 else []
    return content_key("text", caption, encoder.id, *whole)


def _encode_entry(
    entry: Entry, text_key: str, report: Report, writer: SetWriter, encoder: Encoder, pulse: Pulse
) -> Encoded:
    options, kind = report.options, report.kind
    digest = file_hash(entry.file.path)
    changes = _changes(entry.probe, options, digest)
    shown = options.decoding(kind)
    key = content_key("latents", DECODING, kind, shown, digest, encoder.id, *changes)
    thumbnail = None
    if not writer.holds(key, "latents"):
        pixels = fitted(entry.file, options, entry.probe, digest, pulse)
        writer.add(key, "latents", _encode_pixels(entry, pixels, report, encoder, pulse))
        thumbnail = sheet.thumbnail(pixels)
    name = entry.file.name
    record = Record(
        id=content_key(name, key, text_key)[:16],
        source=name,
        caption=str(entry.caption),
        latents=object_name(key),
        text=object_name(text_key),
        frames=_frames(report),
        size=options.size,
    )
    return Encoded(record, entry, digest, thumbnail)


def _changes(seen: Probe | None, options: CacheOptions, digest: str) -> list[str]:
    """How a file's frames differ from what earlier versions of the pack encoded of it."""
    if seen is None:
        return []
    clip = _clip(options, digest)
    timed = [] if clip.fps is None else [change for change in seen.changes if change in TIMING]
    pixels = [change for change in seen.changes if change not in TIMING]
    return [*pixels, *timed, *["as shown"] * chosen_otherwise(seen, clip)]


def _clip(options: CacheOptions, digest: str) -> ClipOptions:
    """With the file's own dice: drawn from its content, not from its name or neighbours."""
    dice = hashlib.sha256(f"{options.seed} {digest}".encode()).digest()
    seed = int.from_bytes(dice[:7], "big")
    return ClipOptions(options.frames, options.fps, options.stride, options.start, seed)


def _encode_pixels(
    entry: Entry, pixels: Tensor, report: Report, encoder: Encoder, pulse: Pulse
) -> Tensor:
    latents = torch.cat([encoder.encode_frames(frame) for frame in _frame_by_frame(pixels, pulse)])
    width, height = report.options.size
    expected = (_frames(report), 4, height // encoder.factor, width // encoder.factor)
    if latents.shape != expected:
        raise UserError(
            entry.file.path, f"latents of shape {tuple(latents.shape)}", str(expected),
            "Choose a checkpoint with an SD1.5 VAE.",
        )  # fmt: skip  # file, found, expected, next move
    return latents


def _frame_by_frame(pixels: Tensor, pulse: Pulse) -> Iterator[Tensor]:
    for frame in pixels.split(1):
        pulse()
        yield frame


def _frames(report: Report) -> int:
    return report.options.frames if report.kind == "clips" else 1


def fitted(
    file: MediaFile,
    options: CacheOptions,
    probed: Probe | None = None,
    digest: str | None = None,
    pulse: Pulse | None = None,
) -> Tensor:
    """The frames that the encoder sees: (frames, 3, height, width) in 0..1.

    probed, digest: what a look through the file showed, and its sha256, where they are known.
    """
    clip = _clip(options, digest or file_hash(file.path))
    decoded = iter_frames(file, clip, probed, pulse)
    size, crop, seed = options.size, options.crop, clip.seed
    return torch.cat([fit(frame[None], size, crop, seed, pulse) for frame in decoded])


def _draw_sheet(report: Report, encoded: list[Encoded], pulse: Pulse) -> bytes:
    """The contact sheet as PNG."""
    options = report.options
    thumbnails = [
        (item.record.source, item.record.caption, _thumbnail(item, options, pulse))
        for item in encoded[: sheet.MAX_ITEMS]
    ]
    width, height = options.size
    title = f"{len(encoded)} {report.kind} at {width} x {height}"
    if len(encoded) > len(thumbnails):
        title += f", the first {len(thumbnails)} shown"
    buffer = io.BytesIO()
    sheet.contact_sheet(title, thumbnails).save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(item: Encoded, options: CacheOptions, pulse: Pulse) -> Tensor:
    """As encoding left it; a file that was encoded before is decoded for it."""
    if item.thumbnail is not None:
        return item.thumbnail
    entry = item.entry
    pulse()
    return sheet.thumbnail(fitted(entry.file, options, entry.probe, item.digest, pulse))
