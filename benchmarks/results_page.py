"""docs/results.md: each benchmark writes its own section and leaves the rest as it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def put_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the section's marks. Raises ValueError when it has none."""
    from still_moving.adapters.atomic import atomic_write_text

    old = page.read_text(encoding="utf-8")
    marks = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    new, count = pattern.subn(lambda _: f"{marks[0]}\n{text}\n{marks[1]}", old)
    if count != 1:
        raise ValueError(f"{page} has {count} sections {marks[0]}; write one where it belongs.")
    atomic_write_text(page, new)


def commit() -> str:
    """The short name of the commit that is measured, and whether files differ from it."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    name, changed = (
        subprocess.run([*git, *asked], capture_output=True, text=True, check=False).stdout.strip()
        for asked in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"])
    )
    return (name or "unknown") + (" with changes" if changed else "")
