"""What the registry hands out: the files that git knows, without those that .comfyignore names."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tracked(*options: str) -> list[str]:
    """Paths that git knows, with slashes; options: of ``git ls-files``."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", *options]
    found = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    return [path for path in found.stdout.split("\0") if path]


def packed() -> list[str]:
    """Paths of what an artist gets."""
    left_out = set(tracked("--ignored", "--exclude-from=.comfyignore"))
    return [path for path in tracked() if path not in left_out]


def megabytes(paths: list[str]) -> float:
    return sum((ROOT / path).stat().st_size for path in paths) / 1e6
