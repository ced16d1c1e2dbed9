"""What ``inspect`` says of each kind of file, by its content."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


def facts_of(path: Path) -> Facts:
    """Facts about a file by name. Raises UserError for one that is unusable."""
    from ..adapters.files import kinds
    from ..adapters.files.motion_module import read_motion_module
    from ..adapters.files.tensors import read_tensors

    tensors, metadata = read_tensors(path)
    kind = kinds.kind_of(tensors)
    describe: dict[kinds.Kind | None, Callable[[Path, Any, Any], Facts]] = {
        kinds.MOTION_LORA: _adapter,
        kinds.SPATIAL_ADAPTER: _adapter,
        kinds.IMAGE_LORA: _image_lora,
        kinds.CHECKPOINT: _checkpoint,
        kinds.UNET: _checkpoint,
        kinds.MOTION_WEIGHTS: _motion_weights,
        kinds.EMBEDDING: _embedding,
    }
    if kind in describe:
        return describe[kind](path, tensors, metadata)
    module = read_motion_module(path)  # names whatever else it is
    facts = dataclasses.asdict(module.info)
    if not facts["own_positions"]:
        del facts["own_positions"]
    facts |= {"keys": len(module.tensors), "sha256": module.hash}
    return {"is": "motion module", **facts} | _notes(module.notes)


def _adapter(path: Path, _tensors: Any, _metadata: Any) -> Facts:
    from ..adapters.files.adapter import load_adapter

    adapter = load_adapter(path, pairs_only=False)
    info = dataclasses.asdict(adapter.info)
    info["recipe"] = _recipe_name(info["recipe"])
    facts = {"is": f"{info.pop('kind')} adapter", "layers": len(adapter.pairs), **info}
    if adapter.forms != ("LoRA",):
        facts["form"] = ", ".join(adapter.forms)
    return facts | _notes(adapter.notes)


def _image_lora(path: Path, tensors: Any, metadata: Mapping[str, str]) -> Facts:
    from ..adapters.files.image_lora import layer_names, read_image_lora
    from ..adapters.files.keys import SD15
    from ..adapters.files.lora_change import rank_of
    from ..adapters.files.lora_keys import forms_in, is_text
    from ..adapters.files.templates import unet_shapes

    if all(map(is_text, tensors)):
        return {"is": "LoRA for a text encoder", "tensors": len(tensors)}
    lora = read_image_lora(path)
    names = layer_names(SD15, unet_shapes(SD15, 320, (1, 2, 4, 4), 768))
    here = sum(layer in names for layer in lora.layers)
    exported = metadata.get("still_moving.exported_from")
    ranks = {rank for parts in lora.layers.values() if (rank := rank_of(parts))}
    return {
        "is": f"image LoRA (exported from a {exported} adapter)" if exported else "image LoRA",
        "form": ", ".join(forms_in(lora.layers)),
        "layers": len(lora.layers),
        "rank": max(ranks, default=0),
        "for": f"SD1.5 ({here} of {len(lora.layers)} layers have names of its UNet)"
        if here
        else f"another model than SD1.5 (first layer {next(iter(lora.layers))!r})",
    } | _notes(lora.notes)


def _checkpoint(path: Path, _tensors: Any, _metadata: Any) -> Facts:
    from ..adapters.files.checkpoint import read_unet

    unet = read_unet(path)
    facts = {"is": "checkpoint", "base": unet.base, "unet keys": len(unet.tensors)}
    said = {"predicts": str(unet.prediction)} if unet.prediction else {}
    return {**facts, "sha256": unet.hash, **said} | _notes(unet.notes)


def _motion_weights(path: Path, _tensors: Any, _metadata: Any) -> Facts:
    from ..adapters.files.motion_weights import load_motion_weights

    learned = load_motion_weights(path)
    info = dataclasses.asdict(learned.info)
    info["recipe"] = _recipe_name(info["recipe"])
    return {"is": "motion weights", "tensors": len(learned.tensors), **info}


def _embedding(path: Path, tensors: Any, metadata: Mapping[str, str]) -> Facts:
    from ..adapters.files.embedding_forms import form_of_embedding
    from ..adapters.files.metadata import MARK
    from ..adapters.files.tensors import refuse_non_finite

    refuse_non_finite(path, tensors)
    form = form_of_embedding(tensors)
    assert form is not None  # that is what made it an embedding
    tokens, width = form.rows.shape
    words = metadata.get(f"{MARK}words", "").split("\n")
    named = " ".join(form.words or words) or "unknown"
    facts = {"is": "embedding", "tokens": tokens, "width": width, "words": named}
    return {**facts, "form": form.form, "for": form.family}


def _notes(notes: Sequence[str]) -> Facts:
    return {"note": "; ".join(notes)} if notes else {}


def _recipe_name(text: str) -> str:
    try:
        return str(json.loads(text)["name"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return "unknown"  # another tool's adapter, or one whose metadata was edited
