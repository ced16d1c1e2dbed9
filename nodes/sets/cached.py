"""What goes through a TRAINING_SET wire, and what the nodes that make one share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.latent_formats
import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ...adapters.worlds.pixels import ShapesVAE
from ...common import files
from ...common.errors import UserError
from ...training.sets.build import CacheOptions, build_set, fitted
from ...training.sets.encoders import Encoder, HostEncoder, ShapesEncoder
from ...training.sets.media import MediaFile, has_a_say
from ...training.sets.store import SHEET_FILE, content_key
from ..shared import places
from ..shared.cancel import cancellable
from ..shared.notices import output
from .progress import NodeProgress


@dataclass(frozen=True)
class CachedSet:
    """A cached set in its folder.

    source, options: its first file, and how that was read. pictures: where its pictures are, if
    they were written for it. notes: what an artist should know of it, a line each.
    """

    folder: Path
    kind: str  # "stills" or "clips"
    count: int
    frames: int
    source: Path
    options: CacheOptions
    pictures: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[Path, ...]:
        """What goes with the last job on this set."""
        return (self.folder,) if self.pictures is None else (self.folder, self.pictures)

    def first(self) -> Tensor:
        """What was encoded of the first file: IMAGE (frames, height, width, 3) in 0..1."""
        return fitted(MediaFile(self.source), self.options).permute(0, 2, 3, 1)

    def is_there(self) -> bool:
        return all(path.is_dir() for path in self.uses)


def encoder_of(vae: Any, clip: Any) -> Encoder:
    """The encoder behind a VAE and a CLIP; the shapes world's own is exact."""
    if isinstance(vae, ShapesVAE):
        return ShapesEncoder()
    return HostEncoder(vae, clip, comfy.latent_formats.SD15().process_in)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size, time of each file that a set is read from. UserError if it cannot be read."""
    try:
        there = [file for file in sorted(folder.iterdir()) if has_a_say(file) and file.is_file()]
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in there]
    except OSError as error:
        raise UserError(
            folder, f"a folder that cannot be read ({error.strerror})", "a readable one",
            "Check its permissions, and links in it that lead nowhere.",
        ) from error  # fmt: skip  # file, found, expected, next move


def make_set(folder: Path, encoder: Encoder, options: CacheOptions) -> CachedSet:
    """Encode a folder, or find it encoded already. Raises UserError for what must be mended.

    The place is named after the contents, so a job keeps the set that it began with when the
    folder changes.
    """
    found = listing(folder)
    key = content_key(os.path.normcase(folder), found, encoder.id, options.to_json())[:32]
    files.sweep(places.sets())
    loaded = build_set(folder, places.sets() / key, encoder, options, NodeProgress())
    first = loaded.items[0]
    return CachedSet(
        folder=places.sets() / key,
        kind=loaded.kind,
        count=len(loaded.items),
        frames=len(first.latents),
        source=folder / first.source,
        options=options,
        pictures=folder if folder.parent == places.pictures() else None,
        notes=loaded.notes,
    )


_given: list[tuple[dict[str, Any], CachedSet]] = []  # plain inputs, and their set
_gone: list[dict[str, Any]] = []  # plain inputs of sets that were there once


def _plain(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in inputs.items() if isinstance(v, (str, int, float))}


class SetNode(io.ComfyNode):
    """A node that makes a TRAINING_SET and shows its contact sheet.

    ComfyUI keeps a node's output as long as its inputs are the same, but a set goes with the last
    job that used it: then the node must run again.
    """

    @classmethod
    def gather(cls, **inputs: Any) -> CachedSet:
        """The set of these inputs."""
        raise NotImplementedError

    @classmethod
    def obtain(cls, **inputs: Any) -> CachedSet:
        """The set of these inputs, if need be by gathering it."""
        return cls.gather(**inputs)

    @classmethod
    @cancellable()
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        cached = cls.obtain(**inputs)
        entry = (_plain(inputs), cached)
        if entry not in _given:
            _given.append(entry)
        with files.opened(cached.folder / SHEET_FILE) as file, Image.open(file) as sheet:
            pixels = torch.from_numpy(np.asarray(sheet.convert("RGB")).copy())
        preview: Any = ui.PreviewImage(pixels[None].float() / 255, cls=cls)
        return output(cached, notes=cached.notes, shown=preview)

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:
        """How many sets of these inputs are gone: it rises once for each, and never falls."""
        for entry in [entry for entry in _given if not entry[1].is_there()]:
            _given.remove(entry)
            _gone.append(entry[0])
        known = _plain(inputs).items()  # what comes through a wire is unknown here
        return sum(known <= plain.items() for plain in _gone)
