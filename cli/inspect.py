"""``inspect``: say what a file is and whether it is whole."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any


def add(commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="say what a file is: checkpoint, motion module, adapter, LoRA, cached set",
        description="Reads the whole file and checks every key; exits with 2 if it is unusable.",
    )
    parser.add_argument("paths", type=Path, nargs="+", help="files or cached sets")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    for path in options.paths:
        facts = {"path": str(path), **describe(path)}
        if options.json:
            print(json.dumps(facts))
        else:
            lines = (f"{name:>16}  {_printable(str(value))}" for name, value in facts.items())
            print("\n".join(lines), end="\n\n")
    return 0


def _printable(text: str) -> str:
    """Names come from strangers' files: what would steer a terminal, or be no text, is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe(path: Path) -> dict[str, Any]:
    """Facts about a file or cached set by name. Raises UserError for one we cannot use."""
    from .file_facts import facts_of

    return _describe_set(path) if os.path.isdir(path) else facts_of(path)


def _describe_set(path: Path) -> dict[str, Any]:
    from ..training.sets.store import load_set

    cached = load_set(path)
    shapes = sorted({tuple(item.latents.shape) for item in cached.items})
    return {
        "is": f"cached {cached.kind}",
        "items": len(cached.items),
        "latents": ", ".join(map(str, shapes)),
        "encoder": cached.encoder,
        "captions": len({item.caption for item in cached.items}),
    }
