"""``inspect``: say what a file is and whether it is whole."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any


def add(commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="say what a file is: checkpoint, motion module, adapter or cached set",
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
            print("\n".join(f"{name:>16}  {value}" for name, value in facts.items()), end="\n\n")
    return 0


def describe(path: Path) -> dict[str, Any]:
    """Facts about a file or cached set by name. Raises UserError for one we cannot use."""
    from ..adapters.files import kinds
    from ..adapters.files.adapter import load_adapter
    from ..adapters.files.checkpoint import read_unet
    from ..adapters.files.embedding import load_embedding
    from ..adapters.files.motion_module import read_motion_module
    from ..adapters.files.motion_weights import load_motion_weights
    from ..adapters.files.tensors import read_tensors

    if path.is_dir():
        return _describe_set(path)
    kind = kinds.kind_of(read_tensors(path)[0])
    if kind in (kinds.MOTION_LORA, kinds.SPATIAL_ADAPTER):
        adapter = load_adapter(path)
        info = dataclasses.asdict(adapter.info)
        info["recipe"] = _recipe_name(info["recipe"])
        return {"is": f"{info.pop('kind')} adapter", "layers": len(adapter.pairs), **info}
    if kind in (kinds.CHECKPOINT, kinds.UNET):
        unet = read_unet(path)
        return {
            "is": "checkpoint",
            "base": unet.base,
            "unet keys": len(unet.tensors),
            "sha256": unet.hash,
            **_said(unet),
        }
    if kind is kinds.MOTION_WEIGHTS:
        learned = load_motion_weights(path)
        info = dataclasses.asdict(learned.info)
        info["recipe"] = _recipe_name(info["recipe"])
        return {"is": "motion weights", "tensors": len(learned.tensors), **info}
    if kind is kinds.EMBEDDING:
        embedding = load_embedding(path)
        tokens, width = embedding.rows.shape
        words = " ".join(embedding.words) or "unknown"
        return {"is": "embedding", "tokens": tokens, "width": width, "words": words}
    module = read_motion_module(path)  # names whatever else it is
    facts = dataclasses.asdict(module.info)
    if not facts["own_positions"]:
        del facts["own_positions"]
    notes = {"note": " ".join(module.notes)} if module.notes else {}
    facts |= {"keys": len(module.tensors), "sha256": module.hash, **notes}
    return {"is": "motion module", **facts}


def _said(unet: Any) -> dict[str, Any]:
    """What a checkpoint says of itself, and what is said of how it was read."""
    said = {"predicts": str(unet.prediction)} if unet.prediction else {}
    return said | ({"note": " ".join(unet.notes)} if unet.notes else {})


def _recipe_name(text: str) -> str:
    try:
        return str(json.loads(text)["name"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return "unknown"  # another tool's adapter, or one whose metadata was edited


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
