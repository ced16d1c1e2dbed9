"""Pictures and clips that come through a wire, as files that a set is made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ...training.sets.keeping import as_bytes, save_item
from ...training.sets.texts import lines_of
from ..shared import places


def captions_for(text: str, count: int) -> list[str]:
    """One caption for all, or one a line. Raises UserError when neither fits."""
    lines = lines_of(text)
    if len(lines) == 1:
        return lines * count
    if len(lines) != count:
        raise UserError(
            "captions",
            f"{len(lines)} lines for {count} pictures",
            "one line for all of them, or a line for each",
            "Write what is to be seen; the words are learned from.",
        )
    return lines


def whole_pictures(batch: Tensor, input_name: str) -> Tensor:
    """What is connected as (n, height, width, 3): grey as colours, what is transparent on white.

    Raises UserError for what is no picture.
    """
    if batch.ndim != 4 or not batch.numel() or batch.shape[-1] not in (1, 3, 4):
        raise UserError(
            input_name, f"a tensor of shape {tuple(batch.shape)}",
            "pictures: (count, height, width, 3)", "Connect an IMAGE with at least one picture.",
        )  # fmt: skip  # subject, found, expected, next move
    if not torch.isfinite(batch).all():
        raise UserError(
            input_name, "numbers without end, or none (NaN)", "pictures in 0 to 1",
            "Look at them first: what drew or decoded them failed.",
        )  # fmt: skip  # subject, found, expected, next move
    if batch.shape[-1] == 4:
        colours, alpha = batch[..., :3], batch[..., 3:].clamp(0, 1)
        return colours * alpha + (1 - alpha)
    return batch.expand(*batch.shape[:3], 3)


def keep_pictures(groups: Sequence[Tensor], captions: Sequence[str]) -> Path:
    """Write pictures or clips and captions to a folder named after them.

    groups: (frames, height, width, 3) in 0..1 each; one frame is a picture.
    """
    digest = hashlib.sha256(json.dumps(list(captions)).encode())
    arrays = [as_bytes(group) for group in groups]
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    folder = places.pictures() / digest.hexdigest()[:32]
    if (folder / "complete").is_file():
        return folder
    files.sweep(folder.parent)
    files.make_folder(folder)
    for i, (array, caption) in enumerate(zip(arrays, captions, strict=True)):
        ending = ".mkv" if len(array) > 1 else ".png"
        save_item(array, caption, folder / f"{i:04d}{ending}")
    atomic_write_text(folder / "complete", "")
    return folder


@contextmanager
def named(folder: Path, input_name: str) -> Iterator[None]:
    """Let an error about a file of ``keep_pictures`` name what was connected in its place.

    folder: of any set; errors about files elsewhere stay as they are.
    """
    try:
        yield
    except UserError as error:
        file = Path(str(error.subject))
        if folder.parent != places.pictures() or file.parent != folder or not file.stem.isdigit():
            raise
        subject = f"{input_name}, the one with number {int(file.stem) + 1}"
        raise UserError(subject, error.found, error.expected, error.next_move) from error


def by_number(note: str) -> str:
    """A note on files of ``keep_pictures``, by the numbers of what was connected."""
    return re.sub(r"\b(\d{4})\.(?:mkv|png)\b", lambda name: f"number {int(name[1]) + 1}", note)
