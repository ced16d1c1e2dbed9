"""Telling the artist something that is no error: a line on the node, and one in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...common.output import log


def warn(node: Any, warnings: Sequence[str]) -> None:
    """Show warnings on a running node. node: the class that `execute` was called on."""
    for text in warnings:
        log.warning("Still-Moving: %s", text)
    unique_id = getattr(node.hidden, "unique_id", None) if node.hidden else None
    if warnings and unique_id is not None:
        _show("\n".join(warnings), unique_id)


def _show(text: str, unique_id: str) -> None:
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)  # none in tests and scripts
    if server is not None:
        server.send_progress_text(text, unique_id)
