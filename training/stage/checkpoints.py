"""Checkpoints of a run: whole or not there. A killed save leaves the last good one.

A checkpoint is a folder of safetensors and one JSON, written under a temporary name, flushed to
the disk, renamed, and only then named by ``latest``. Nothing in it can run code.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...adapters.files.tensors import read_tensors
from ...common.atomic import atomic_write_text, sync_file, sync_folder
from ...common.errors import UserError
from ..checks.device import pick_dtype
from ..recipes.recipe import Dtype

KEEP = 2
PARTS = ("tensors", "optimizer", "average")


@dataclass
class Checkpoint:
    """Everything that a stage needs to go on as if it had not stopped."""

    tensors: dict[str, Tensor]  # trained values, fp32
    optimizer: dict[str, Tensor]  # "<parameter>:<state>"
    average: dict[str, Tensor]  # moving average of the values; empty when off
    meta: dict[str, Any]  # stage, step, loss average, skips, scaler, hashes


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below the ``ckpt`` folder, name it latest, drop all but ``KEEP``."""
    name = f"{checkpoint.meta['stage']}-{checkpoint.meta['step']:07d}"
    folder.mkdir(parents=True, exist_ok=True)
    temporary, final = folder / f"{name}.tmp", folder / name
    if final.is_dir() and _latest_name(folder) == name:
        return final  # a step has one state; removing it to write it again could lose both
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    parts = [part for part in PARTS if getattr(checkpoint, part)]
    for part in parts:
        tensors = {k: v.detach().cpu().contiguous() for k, v in getattr(checkpoint, part).items()}
        save_file(tensors, temporary / f"{part}.safetensors")
    meta = {**checkpoint.meta, "parts": parts}
    (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for file in temporary.iterdir():
        sync_file(file)
    sync_folder(temporary)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync_folder(folder)
    atomic_write_text(folder / "latest", name)
    _drop_old(folder, keep=name)
    return final


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest checkpoint, or None when none was saved yet.

    Raises UserError when ``latest`` names a checkpoint that cannot be read.
    """
    name = _latest_name(folder)
    if name is None:
        return None
    path = folder / Path(name).name
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        parts = {part: part in meta["parts"] for part in PARTS}
        _ = meta["stage"], meta["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            path,
            f"a damaged checkpoint ({error})",
            "a whole one",
            f"Write the name of an older folder of {folder} into {folder / 'latest'}, then resume.",
        ) from None
    tensors = {
        part: _read_part(path / f"{part}.safetensors") if saved else {}
        for part, saved in parts.items()
    }
    return Checkpoint(**tensors, meta=meta)


def number_format(
    checkpoint: Checkpoint | None, wanted: Dtype, device: torch.device
) -> torch.dtype:
    """Of the frozen weights: as before on the same kind of device, if it was chosen by itself.

    What is chosen can change with the pack, and a run in two formats is not one run.
    """
    kind, name = checkpoint.meta.get("format", ("", "")) if checkpoint else ("", "")
    kept = wanted == "auto" and kind == device.type
    return getattr(torch, name) if kept else pick_dtype(wanted, device)


def _latest_name(folder: Path) -> str | None:
    try:
        return (folder / "latest").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None


def _read_part(path: Path) -> dict[str, Tensor]:
    # Copies: the optimizer goes on in these tensors, and Windows cannot remove a mapped file.
    return {name: tensor.clone() for name, tensor in read_tensors(path)[0].items()}


def _drop_old(folder: Path, keep: str) -> None:
    """Leave the newest ``KEEP`` checkpoints and remove what a killed save left behind."""
    whole = sorted(p for p in folder.iterdir() if p.is_dir() and p.suffix != ".tmp")
    drop = [p for p in whole[:-KEEP] if p.name != keep]
    drop += [p for p in folder.iterdir() if p.suffix == ".tmp"]
    for path in drop:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
