"""The cached set on disk: set.json names the items, objects/ holds them by content key.

Reading needs torch and safetensors only. Writing goes objects first, set.json last, so a reader
always finds a whole set: the old one or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ...adapters.files.tensors import read_tensors, refuse_non_finite, write_tensors
from ...common import files
from ...common.atomic import atomic_write_bytes, atomic_write_text
from ...common.errors import UserError, lets_go

FORMAT = 1
SET_FILE = "set.json"
OBJECTS = "objects"
SHEET_FILE = "contact_sheet.png"
KINDS = ("stills", "clips")
LATENT_CHANNELS = 4
_OBJECT = re.compile(r"[0-9a-f]{64}\.safetensors")
_AGAIN = "Run the cache command again; it mends what is damaged."


@dataclass(frozen=True)
class Item:
    """One photo or clip, ready for training.

    latents: (frames, 4, h, w) float32 at the diffusion model's scale; text: (tokens, dim) float32.
    """

    id: str
    caption: str
    latents: Tensor
    text: Tensor
    source: str


@dataclass(frozen=True)
class LoadedSet:
    """A cached set in memory, ready for training."""

    kind: str  # "stills" (one frame each) or "clips"
    encoder: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()  # of the build that has just made or found it, a line each


@dataclass(frozen=True)
class Record:
    """An item as set.json names it. latents, text: file names in objects/; size: pixels."""

    id: str
    source: str
    caption: str
    latents: str
    text: str
    frames: int
    size: tuple[int, int]


def content_key(*parts: Any) -> str:
    """sha256 of JSON-able parts: equal parts, equal key, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def object_name(key: str) -> str:
    return f"{key}.safetensors"


def load_set(folder: Path | str) -> LoadedSet:
    """Read a cached set whole. Raises UserError for one that is missing, damaged or incomplete."""
    folder = Path(folder)
    before = _stamp(folder)
    try:
        return _load(folder, _read_manifest(folder))
    except UserError:
        # A build that ended meanwhile has removed the old set's files: read the new set.
        if _stamp(folder) == before:
            raise
        return _load(folder, _read_manifest(folder))


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        state = (folder / SET_FILE).stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / SET_FILE
    expected = "the list of a cached set"
    try:
        manifest = json.loads(files.read_bytes(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            folder, f"no {SET_FILE} in it", "a cached set", "Make one with the cache command."
        ) from error
    except OSError as error:
        raise UserError(
            path, f"a file that cannot be read ({error.strerror})", expected, "Check permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(path, "damaged JSON", expected, _AGAIN) from error
    if not isinstance(manifest, dict):
        raise UserError(path, f"JSON of type {type(manifest).__name__}", expected, _AGAIN)
    if manifest.get("format") != FORMAT:
        found, move = repr(manifest.get("format"))[:40], "Update the pack, or run cache again."
        raise UserError(path, f"format {found}", f"format {FORMAT}", move)
    return manifest


def _records(path: Path, manifest: dict[str, Any]) -> list[Record]:
    entries = manifest.get("items")
    if manifest.get("kind") not in KINDS or not isinstance(manifest.get("encoder"), str):
        raise UserError(path, "no valid kind or encoder", "stills or clips, and a name", _AGAIN)
    if not isinstance(entries, list) or not entries:
        raise UserError(path, "no list of items", "at least one item", _AGAIN)
    records = []
    for number, entry in enumerate(entries, 1):
        try:
            width, height = entry["size"]
            record = Record(**{**entry, "size": (width, height)})
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(path, f"item {number} misshapen", "all its fields", _AGAIN) from error
        _check_record(path, number, record, manifest["kind"])
        records.append(record)
    if len({(record.frames, record.size) for record in records}) > 1:
        raise UserError(path, "items of several sizes", "one size and length", _AGAIN)
    if len({record.id for record in records}) < len(records):
        raise UserError(path, "an item twice", "each item once", _AGAIN)
    return records


def _check_record(path: Path, number: int, record: Record, kind: str) -> None:
    texts = (record.id, record.source, record.caption, record.latents, record.text)
    counts = (record.frames, *record.size)
    fine = all(isinstance(text, str) for text in texts)
    fine = fine and all(type(count) is int and count > 0 for count in counts)
    # Only names that we make: a set from elsewhere must not lead out of its folder.
    fine = fine and all(_OBJECT.fullmatch(name) for name in (record.latents, record.text))
    if not fine:
        raise UserError(path, f"item {number} with invalid fields", "fields of format 1", _AGAIN)
    if kind == "stills" and record.frames != 1:
        raise UserError(path, f"item {number} with {record.frames} frames", "1 in stills", _AGAIN)


def _load(folder: Path, manifest: dict[str, Any]) -> LoadedSet:
    path = folder / SET_FILE
    texts: dict[str, Tensor] = {}
    items = []
    for record in _records(path, manifest):
        latents = read_object(folder, record.latents, "latents")
        width, height = record.size
        expected = (record.frames, LATENT_CHANNELS, height // 8, width // 8)
        if latents.shape != expected:
            shape = tuple(latents.shape)
            raise UserError(folder / OBJECTS / record.latents, f"{shape}", f"{expected}", _AGAIN)
        if record.text not in texts:
            texts[record.text] = read_object(folder, record.text, "text")
        items.append(Item(record.id, record.caption, latents, texts[record.text], record.source))
    dims = {text.shape[-1] for text in texts.values()}
    if any(text.ndim != 2 for text in texts.values()) or len(dims) > 1:
        raise UserError(path, "embeddings of several shapes", "(tokens, dim), one dim", _AGAIN)
    return LoadedSet(manifest["kind"], manifest["encoder"], tuple(items))


@lets_go
def read_object(folder: Path, name: str, part: str) -> Tensor:
    """The one tensor of an object file. Raises UserError unless it is bit for bit as written."""
    path = folder / OBJECTS / name
    try:
        tensors, metadata = read_tensors(path)
    except UserError as error:
        raise UserError(path, error.found, f"the {part} of an item", _AGAIN) from error
    if set(tensors) != {part} or tensors[part].dtype != torch.float32:
        raise UserError(path, f"tensors {sorted(tensors)}", f"{part} in float32", _AGAIN)
    tensor = tensors[part].clone()  # not mapped from the file: Windows could not remove that
    if metadata.get("sha256") != _digest(tensor):
        raise UserError(path, "data that does not match its checksum", "intact data", _AGAIN)
    return tensor


def _digest(tensor: Tensor) -> str:
    data = tensor.contiguous().numpy().tobytes()
    return hashlib.sha256(f"{tuple(tensor.shape)}".encode() + data).hexdigest()


class SetWriter:
    """One rewriting of a cached set: objects, then commit. A context manager.

    What is raised inside the block undoes everything, folders included. A kill or Ctrl-C leaves the
    finished objects behind; the old set stays valid and the next build goes on from them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> SetWriter:
        missing = [
            path
            for path in (self.folder / OBJECTS, self.folder, *self.folder.parents)
            if not path.exists()
        ]
        try:
            for path in reversed(missing):
                files.make_folder(path)
                self._undo.append(partial(files.remove_empty, path))
        except OSError:
            self._roll_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # ComfyUI's Cancel is no Exception, so those that leave the objects are named.
        if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._roll_back()

    def _roll_back(self) -> None:
        for undo in reversed(self._undo):
            with contextlib.suppress(OSError):
                undo()

    def holds(self, key: str, part: str) -> bool:
        """Is this object there and intact? A damaged one counts as absent and is written anew."""
        try:
            read_object(self.folder, object_name(key), part)
        except UserError:
            return False
        return True

    def add(self, key: str, part: str, tensor: Tensor) -> None:
        """Write an object. Raises UserError for NaN or infinity: no training survives them."""
        path = self.folder / OBJECTS / object_name(key)
        tensor = tensor.detach().to("cpu", torch.float32).contiguous()
        refuse_non_finite(path, {part: tensor})
        if not path.exists():
            self._undo.append(partial(files.remove, path))
        write_tensors(path, {part: tensor}, {"sha256": _digest(tensor)})

    def is_current(self, manifest: dict[str, Any]) -> bool:
        """Does the folder already hold exactly this set?"""
        try:
            return (self.folder / SHEET_FILE).is_file() and _read_manifest(self.folder) == manifest
        except UserError:
            return False

    def commit(self, manifest: dict[str, Any], sheet: bytes) -> None:
        """Make the set current: contact sheet, then set.json, then out with what it left."""
        path = self.folder / SHEET_FILE
        old = files.read_bytes(path) if path.exists() else None
        self._undo.append(
            lambda: files.remove(path) if old is None else atomic_write_bytes(path, old)
        )
        atomic_write_bytes(path, sheet)
        text = json.dumps(manifest, indent=1)  # ASCII: file names may be no Unicode
        atomic_write_text(self.folder / SET_FILE, text + "\n")
        self._undo.clear()

    def sweep(self, records: Iterable[Record]) -> None:
        """Remove objects that no item uses, and temporary files of a build that was killed."""
        used = {name for record in records for name in (record.latents, record.text)}
        for path in (self.folder / OBJECTS).iterdir():
            if _OBJECT.fullmatch(path.name) and path.name not in used:
                files.discard(path)  # the next build's, where somebody on Windows reads it
        for folder in (self.folder / OBJECTS, self.folder):
            files.sweep(folder)
