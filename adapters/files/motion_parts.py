"""What a merged motion module is made of: files, each with its share of the mean of their weights.

A file alone is one part with all of it, so that both are named and known again in one way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .metadata import MARK

MERGED = f"{MARK}merged"  # in a merged file's metadata: [[hash, name, share], ...] as JSON
DECIMALS = 9  # of a share: ratios that are multiplied in another order give the same parts


@dataclass(frozen=True)
class Part:
    """A motion module's file. hash, name: as it was read; share: above 0, up to 1, all add up to 1.

    hash and name of a merged file say what it was merged from (``of_merged_file``).
    """

    path: Path
    hash: str
    name: str
    share: float = 1.0

    @property
    def weight(self) -> float:
        """What its tensors are multiplied with: the share, rounded."""
        return round(self.share, DECIMALS)


Parts = tuple[Part, ...]


def merged_parts(first: Parts, second: Parts, ratio: float) -> Parts:
    """The parts of ``ratio`` times the first module and the rest of the second.

    A file that is in both is one part; one without a share is none.
    """
    mixture: dict[str, Part] = {}
    shared = [(part, ratio) for part in first] + [(part, 1.0 - ratio) for part in second]
    for part, amount in shared:
        if not amount:
            continue
        known = mixture.get(part.hash)
        share = amount * part.share + (known.share if known else 0.0)
        mixture[part.hash] = replace(known or part, share=share)
    parts = tuple(part for part in mixture.values() if part.weight > 0)
    return (replace(parts[0], share=1.0),) if len(parts) == 1 else parts


def hash_of(parts: Parts) -> str:
    """sha256 of the one file; of several, of their hashes and shares in any order."""
    if len(parts) == 1:
        return parts[0].hash
    lines = sorted(f"{part.hash} {part.weight:.{DECIMALS}f}" for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def name_of(parts: Parts) -> str:
    """The file's name; of several all names with their shares: "0.3 a.ckpt + 0.7 b.ckpt"."""
    if len(parts) == 1:
        return parts[0].name
    return " + ".join(f"{part.share:.3g} {part.name}" for part in parts)


def to_metadata(parts: Parts) -> dict[str, str]:
    """What a merged file says of its parts, so that it is read as what it was merged from."""
    return {MERGED: json.dumps([[part.hash, part.name, part.share] for part in parts])}


def of_merged_file(path: Path, metadata: Mapping[str, str]) -> Parts | None:
    """The parts that a merged file was made from; None for any other file, or a damaged note."""
    try:
        rows = [(str(hash), str(name), float(share)) for hash, name, share in _rows(metadata)]
    except (ValueError, TypeError, RecursionError):
        return None
    if len(rows) < 2 or not all(0 < share <= 1 for *_, share in rows):
        return None
    return tuple(Part(path, *row) for row in rows)


def _rows(metadata: Mapping[str, str]) -> list[tuple[object, object, float]]:
    return json.loads(metadata.get(MERGED, "[]"))
