"""docs/results.md: each benchmark writes its own section and leaves the rest as it is."""

from __future__ import annotations

import re
from pathlib import Path

from still_moving.adapters.atomic import atomic_write_text


def put_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the section's marks. Raises ValueError when it has none."""
    old = page.read_text(encoding="utf-8")
    marks = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    new, count = pattern.subn(lambda _: f"{marks[0]}\n{text}\n{marks[1]}", old)
    if count != 1:
        raise ValueError(f"{page} has {count} sections {marks[0]}; write one where it belongs.")
    atomic_write_text(page, new)
