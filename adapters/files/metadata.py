"""What a file of this pack says of itself: the fields of its info, as text in the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...common.errors import UserError

FORMAT = 1
UNKNOWN = "unknown"
MARK = "still_moving."  # before each of our names in the metadata
AGAIN = "The file is damaged or incomplete: download, copy or train it again."
NUMBERS = ("steps", "format")


def to_metadata(info: Any) -> dict[str, str]:
    """The fields of a dataclass that have a value."""
    values = {field.name: getattr(info, field.name) for field in fields(info)}
    return {f"{MARK}{name}": str(value) for name, value in values.items() if value is not None}


def stated_fields(
    path: Path | str, metadata: Mapping[str, str], info_class: type
) -> dict[str, Any]:
    """The fields of a dataclass that a file states; other names of ours are passed over.

    Raises UserError for a number that is none, and for a file of a newer format.
    """
    names = {field.name for field in fields(info_class)}
    ours = {k.removeprefix(MARK): text for k, text in metadata.items() if k.startswith(MARK)}
    stated: dict[str, Any] = {name: text for name, text in ours.items() if name in names}
    try:
        stated |= {name: int(stated[name]) for name in NUMBERS if name in stated}
    except ValueError as error:
        raise UserError(path, f"damaged metadata ({error})", "numbers as text", AGAIN) from error
    if stated.get("format", FORMAT) > FORMAT:
        found, advice = f"format {stated['format']}", "Update ComfyUI-StillMoving."
        raise UserError(path, found, f"format {FORMAT} or older", advice)
    return stated
