"""From a folder of photos or clips to a cached set: look, encode what is new, commit."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ...adapters.files.tensors import file_hash
from ...common.errors import UserError
from . import sheet
from .encoders import Encoder
from .media import ClipOptions, MediaFile, Probe, fit, iter_frames
from .options import CacheOptions
from .preflight import Entry, Report, preflight
from .store import FORMAT, Record, SetWriter, TrainingSet, content_key, load_set, object_name

__all__ = ["CacheOptions", "build_set", "fitted"]

DECODING = 1  # raise when decoding or fitting changes, so that old objects are not taken for new


def build_set(
    folder: Path | str,
    out: Path | str,
    encoder: Encoder,
    options: CacheOptions,
    progress: bool = True,
) -> TrainingSet:
    """Encode a folder into the cached set at `out`, and load it.

    What `out` already holds of the same bytes, caption, options and encoder is kept as it is.
    Raises UserError for anything in the folder or `out` that a person must mend; `out` is then
    as it was before.
    """
    folder, out = Path(folder), Path(out)
    if out.resolve() == folder.resolve():
        raise UserError(
            out, "the folder of the photos or clips itself", "another folder",
            "The set's own picture would count as a photo: choose another place for the set.",
        )  # fmt: skip
    report = preflight(folder, options, progress)
    report.check()
    try:
        with SetWriter(out) as writer:
            _build(report, writer, encoder, progress)
    except OSError as error:
        raise UserError(
            out, f"a folder that cannot be written ({error.strerror or error})",
            "a place with room and permission", "Free some space, or choose another folder.",
        ) from error  # fmt: skip
    return load_set(out)


def _build(report: Report, writer: SetWriter, encoder: Encoder, progress: bool) -> None:
    # Words first: a caption that the encoder refuses shows before minutes of encoding.
    texts = _encode_captions(report, writer, encoder)
    work = tqdm(report.usable, desc="Encoding", unit="file", disable=not progress, leave=False)
    records = [
        _encode_entry(entry, texts[str(entry.caption)], report, writer, encoder) for entry in work
    ]
    manifest = {
        "format": FORMAT,
        "kind": report.kind,
        "encoder": encoder.id,
        "options": report.options.decoding(report.kind),
        "items": [{**vars(record), "size": list(record.size)} for record in records],
    }
    if not writer.is_current(manifest):
        writer.commit(manifest, _draw_sheet(report))
    writer.sweep(records)


def _encode_captions(report: Report, writer: SetWriter, encoder: Encoder) -> dict[str, str]:
    """The text object's key of every caption."""
    keys: dict[str, str] = {}
    for entry in report.usable:
        caption = str(entry.caption)
        if caption in keys:
            continue
        key = keys[caption] = content_key("text", caption, encoder.id)
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


def _encode_entry(
    entry: Entry, text_key: str, report: Report, writer: SetWriter, encoder: Encoder
) -> Record:
    options, kind = report.options, report.kind
    digest = file_hash(entry.file.path)
    key = content_key("latents", DECODING, kind, options.decoding(kind), digest, encoder.id)
    frames = options.frames if kind == "clips" else 1
    if not writer.holds(key, "latents"):
        latents = encoder.encode_frames(fitted(entry.file, options, entry.probe))
        width, height = options.size
        expected = (frames, 4, height // encoder.factor, width // encoder.factor)
        if latents.shape != expected:
            raise UserError(
                entry.file.path, f"latents of shape {tuple(latents.shape)}", str(expected),
                "Choose a checkpoint with an SD1.5 VAE.",
            )  # fmt: skip
        writer.add(key, "latents", latents)
    name = entry.file.name
    return Record(
        id=content_key(name, key, text_key)[:16],
        source=name,
        caption=str(entry.caption),
        latents=object_name(key),
        text=object_name(text_key),
        frames=frames,
        size=options.size,
    )


def fitted(file: MediaFile, options: CacheOptions, probed: Probe | None = None) -> Tensor:
    """The frames that the encoder sees: (frames, 3, height, width) in 0..1."""
    # Drawn from the content, so a file's dice do not change with its name or its neighbours.
    digest = file_hash(file.path)
    dice = hashlib.sha256(f"{options.seed} {digest}".encode()).digest()
    seed = int.from_bytes(dice[:7], "big")
    clip = ClipOptions(options.frames, options.fps, options.stride, options.start, seed)
    decoded = iter_frames(file, clip, probed)
    return torch.cat([fit(frame[None], options.size, options.crop, seed) for frame in decoded])


def _draw_sheet(report: Report) -> bytes:
    """The contact sheet as PNG."""
    options = report.options
    items = [
        (
            entry.file.name,
            str(entry.caption),
            sheet.thumbnail(fitted(entry.file, options, entry.probe)),
        )
        for entry in report.usable[: sheet.MAX_ITEMS]
    ]
    width, height = options.size
    title = f"{len(report.usable)} {report.kind} at {width} x {height}"
    if len(report.usable) > len(items):
        title += f", the first {len(items)} shown"
    buffer = io.BytesIO()
    sheet.contact_sheet(title, items).save(buffer, "PNG")
    return buffer.getvalue()
