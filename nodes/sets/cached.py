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
from ...training.jobs.coming import is_coming
from ...training.sets.build import CacheOptions, build_set, fitted
from ...training.sets.encoders import Encoder, HostEncoder, ShapesEncoder
from ...training.sets.media import MediaFile, has_a_say
from ...training.sets.plan import expected_set, is_planned
from ...training.sets.store import SHEET_FILE, LoadedSet, content_key, load_set
from ..shared import places
from ..shared.cancel import cancellable
from ..shared.notices import output
from .progress import NodeProgress


@dataclass(frozen=True)
class CachedSet:
    """A cached set in its folder, or one that a job draws first by the plan in that folder.

    source, options: its first file, and how that was read. pictures: where its pictures are, if
    they were written for it. notes: what an artist should know of it, a line each. files: weights
    that it is drawn with.
    """

    folder: Path
    kind: str  # "stills" or "clips"
    count: int
    frames: int
    source: Path
    options: CacheOptions
    pictures: Path | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """Whether the set itself is there, and not only its plan."""
        return not is_planned(self.folder)

    @property
    def uses(self) -> tuple[Path, ...]:
        """What goes with the last job on this set."""
        own = (self.folder,) if self.pictures is None else (self.folder, self.pictures)
        return own if self.is_drawn else (*own, *self.files)

    def first(self) -> Tensor:
        """What was encoded of the first file: IMAGE (frames, height, width, 3) in 0..1."""
        return fitted(MediaFile(self.source), self.options).permute(0, 2, 3, 1)

    def loaded(self) -> LoadedSet:
        """The set with all its items; as its plan says where it is yet to be drawn."""
        return load_set(self.folder) if self.is_drawn else expected_set(self.folder)

    def is_there(self) -> bool:
        return all(is_coming(path) for path in self.uses)


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


# Plain inputs, their set, and whether that was drawn when it was given.
_given: list[tuple[dict[str, Any], CachedSet, bool]] = []
_changed: list[dict[str, Any]] = []  # plain inputs of sets that went since, or were drawn


def _plain(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in inputs.items() if isinstance(v, (str, int, float))}


class SetNode(io.ComfyNode):
    """A node that makes a TRAINING_SET and shows its contact sheet.

    ComfyUI keeps a node's output as long as its inputs are the same, but a set goes with the last
    job that used it: then the node must run again. So it must to show what was drawn meanwhile.
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
        entry = (_plain(inputs), cached, cached.is_drawn)
        if entry not in _given:
            _given.append(entry)
        if not cached.is_drawn:
            return output(cached, notes=cached.notes)
        with files.opened(cached.folder / SHEET_FILE) as file, Image.open(file) as sheet:
            pixels = torch.from_numpy(np.asarray(sheet.convert("RGB")).copy())
        preview: Any = ui.PreviewImage(pixels[None].float() / 255, cls=cls)
        return output(cached, notes=cached.notes, shown=preview)

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:
        """How many sets of these inputs have changed: it rises once for each, and never falls."""
        for entry in list(_given):
            plain, cached, was_drawn = entry
            if not cached.is_there() or cached.is_drawn != was_drawn:
                _given.remove(entry)
                _changed.append(plain)
        known = _plain(inputs).items()  # what comes through a wire is unknown here
        return sum(known <= plain.items() for plain in _changed)
