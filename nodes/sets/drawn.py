"""Sets that this ComfyUI has drawn already, found again when the same graph asks for them.

ComfyUI forgets a node's output as soon as a prompt without that node has run, such as the one that
an artist queues while a job trains. Drawing a set again takes minutes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from typing import Any

import folder_paths

from ..shared.folders import find
from .cached import CachedSet, SetNode

Prompt = dict[str, dict[str, Any]]
_drawn: dict[str, CachedSet] = {}  # by graph_key


class DrawnSet(SetNode):
    """A node whose set a model draws. Its schema has the hidden prompt and unique_id."""

    @classmethod
    def obtain(cls, **inputs: Any) -> CachedSet:
        hidden = cls.hidden  # None outside of a prompt
        key = graph_key(hidden.prompt or {}, str(hidden.unique_id)) if hidden else None
        cached = _drawn.get(key) if key else None
        if cached is None or not cached.is_there():  # it may have gone with a job
            cached = cls.gather(**inputs)
            if key is not None:
                _drawn[key] = cached
        return cached


def graph_key(prompt: Prompt, node_id: str) -> str | None:
    """A name for all that feeds a node: the same exactly for the same nodes, wires, values, files.

    None where that does not say what comes out: before a node that changes by itself, such as one
    that reads a picture by its name, and in graphs that were made while they ran.
    """
    numbers: dict[str, int] = {}  # in the order of the first visit: ids may differ
    spelled: list[Any] = []

    def visit(name: str) -> int:
        if name not in numbers:
            node = prompt[name]
            if name != node_id and _changes_by_itself(node["class_type"]):
                raise KeyError(name)
            numbers[name] = len(numbers)
            inputs = {k: _value(v) for k, v in sorted(node["inputs"].items())}
            spelled.append([numbers[name], node["class_type"], inputs])
        return numbers[name]

    def _value(value: Any) -> Any:
        wire = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        if wire:
            return {"from": visit(value[0]), "slot": value[1]}
        return {"value": value, "files": _files(value) if isinstance(value, str) else []}

    try:
        visit(node_id)
    except KeyError:
        return None
    return hashlib.sha256(json.dumps(spelled, sort_keys=True).encode()).hexdigest()


def _files(name: str) -> list[tuple[int, int]]:
    """Size and time of the model files of this name: one may be replaced by another."""
    if not name.lower().endswith(tuple(folder_paths.supported_pt_extensions)):
        return []
    kinds = sorted(folder_paths.folder_names_and_paths)
    paths = filter(None, (find(kind, name) for kind in kinds))
    return [(state.st_size, state.st_mtime_ns) for state in map(os.stat, paths)]


def _changes_by_itself(class_type: str) -> bool:
    """Whether ComfyUI asks the node, besides its inputs, if what it gives has changed."""
    # By its name: ``import nodes`` reads as this pack's own folder.
    node: type = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[class_type]
    return hasattr(node, "IS_CHANGED") or any(
        "fingerprint_inputs" in vars(base) and not base.__module__.startswith("comfy_api")
        for base in node.__mro__
    )
