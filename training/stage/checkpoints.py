"""Checkpoints of a run: whole or not there. A killed save leaves the last good one.

A checkpoint is a folder of safetensors and one JSON, written under a temporary name, flushed to
the disk, renamed, and only then named by ``latest``. Nothing in it can run code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...adapters.files.tensors import read_tensors, save_tensors
from ...common import files
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
    files.make_folder(folder)
    final = folder / name
    if final.is_dir() and _latest_name(folder) == name:
        return final  # a step has one state; removing it to write it again could lose both
    _drop_halves(folder)  # first: a full disk may be full of them
    temporary = files.temporary_beside(final)
    try:
        _write(temporary, checkpoint)
        files.remove_tree(final)
        files.replace(temporary, final)
    except BaseException:
        files.discard(temporary)
        raise
    sync_folder(folder)
    atomic_write_text(folder / "latest", name)
    _drop_old(folder, keep=name)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    files.make_folder(folder)
    parts = [part for part in PARTS if getattr(checkpoint, part)]
    for part in parts:
        tensors = {k: v.detach().cpu().contiguous() for k, v in getattr(checkpoint, part).items()}
        save_tensors(folder / f"{part}.safetensors", tensors)
    meta = {**checkpoint.meta, "parts": parts}
    atomic_write_text(folder / "meta.json", json.dumps(meta))
    for file in folder.iterdir():
        sync_file(file)
    sync_folder(folder)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest checkpoint, or None when none was saved yet.

    Raises UserError when ``latest`` names a checkpoint that cannot be read.
    """
    name = _latest_name(folder)
    if name is None:
        return None
    path = folder / Path(name).name
    try:
        meta = json.loads(files.read_text(path / "meta.json"))
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
        return files.read_text(folder / "latest", "replace").strip()
    except FileNotFoundError:
        return None


def _read_part(path: Path) -> dict[str, Tensor]:
    # Copies: the optimizer goes on in these tensors, and Windows cannot remove a mapped file.
    return {name: tensor.clone() for name, tensor in read_tensors(path)[0].items()}


def _drop_old(folder: Path, keep: str) -> None:
    """Leave the newest ``KEEP`` checkpoints. What Windows has open goes after the next save."""
    whole = sorted(p for p in folder.iterdir() if p.is_dir() and not _is_half(p.name))
    for path in whole[:-KEEP]:
        if path.name != keep:
            files.discard(path)
    _drop_halves(folder)


def _drop_halves(folder: Path) -> None:
    """Remove what a killed save left: at once, as only the one worker of the job writes here."""
    for path in list(folder.iterdir()):
        if _is_half(path.name):
            files.discard(path)


def _is_half(name: str) -> bool:
    return files.is_temporary(name) or name.endswith(".tmp")  # as version 0.1.0 called them
