"""Telling the artist something that is no error: lines on the node, and in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ...common.output import log

NOTES = "still_moving_notes"  # web/js/notes.js shows them on the node


def output(*values: Any, notes: Sequence[str] = (), shown: Any = None) -> io.NodeOutput:
    """What a node gives, with notes for the artist.

    notes: a line each. They are part of what the node shows, so that ComfyUI sends them again
    where it takes the node's output from its cache, and an empty list takes old ones off the node.
    shown: what else it shows, as ``ui``.
    """
    for text in notes:
        log.warning("Still-Moving: %s", text)
    others = {} if shown is None else shown if isinstance(shown, dict) else shown.as_dict()
    return io.NodeOutput(*values, ui={**others, NOTES: list(notes)})
