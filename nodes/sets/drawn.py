"""Sets that this ComfyUI has drawn already, found again when the same graph asks for them.

ComfyUI forgets a node's output as soon as a prompt without that node has run, such as the one that
an artist queues while a job trains. Drawing a set again takes minutes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from dataclasses import replace
from typing import Any

import folder_paths

from ..shared.folders import find
from ..shared.jobs import ASKED_BY, PRESS_ID
from .cached import CachedSet, SetNode

TRAINERS = "StillMovingTrain"  # what the ids of nodes begin with that have a Train button
Prompt = dict[str, dict[str, Any]]
_drawn: dict[str, CachedSet] = {}  # by graph_key


class DrawnSet(SetNode):
    """A node whose set a model draws. Its schema has the hidden prompt and unique_id."""

    @classmethod
    def planned(cls, **inputs: Any) -> CachedSet:
        """The set of these inputs, to be drawn by the job that is pressed for."""
        return cls.gather(**inputs)

    @classmethod
    def obtain(cls, **inputs: Any) -> CachedSet:
        hidden = cls.hidden  # None outside of a prompt
        prompt, id = (hidden.prompt or {}, str(hidden.unique_id)) if hidden else ({}, "")
        key, trained = graph_key(prompt, id), is_only_trained(prompt, id)
        cached = _drawn.get(key) if key else None
        # It may have gone with a job, or be in the making where it is wanted now.
        if cached is None or not cached.is_there() or not (trained or cached.is_drawn):
            cached = cls.planned(**inputs) if trained else cls.gather(**inputs)
            if key is not None:
                _drawn[key] = cached
        return replace(cached, notes=()) if cached.files and cached.is_drawn else cached


def is_only_trained(prompt: Prompt, node_id: str) -> bool:
    """Whether all that a node feeds in this prompt are trainers whose Train was pressed."""
    fed = [
        node
        for node in prompt.values()
        if any(isinstance(v, list) and v[:1] == [node_id] for v in node["inputs"].values())
    ]
    pressed = [it for it in fed if it["inputs"].get(PRESS_ID) or it["inputs"].get(ASKED_BY)]
    others = [it for it in fed if it not in pressed and not it["class_type"].startswith(TRAINERS)]
    return bool(pressed) and not others  # a trainer that is not pressed asks for nothing


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
