"""One press for two trainings: a trainer that is pressed asks the one whose adapter it takes.

The Train button sends one node's branch of the graph, and a script its own prompt; in both only
the pressed node has a press id. So that ComfyUI runs the other one as well, which it may remember
from a plain Run, that gets the press id as an input of its own, too.
"""

from __future__ import annotations

from typing import Any

from ...training.jobs.ticket import Awaited
from ...training.queue.host import JobView
from ..shared.jobs import ASKED_BY, PRESS_ID

TAKER, SOCKET = "StillMovingTrainSpatialAdapter", "motion_adapter"
GIVER, ADAPTER = "StillMovingTrainMotionAdapter", 0  # and its output

# Put into the prompt by the Train button, or by who talks to /prompt, as the press id is. They are
# not declared: an optional input is drawn on the node, as a socket, or as a widget whose value a
# workflow keeps, where a plain Run would find an old press; V3's hidden inputs are a closed list.
UID = "node_uid"


class Coming(str):
    """The file name of an adapter that a job is yet to train: its place may give it a number."""

    awaited: Awaited

    @classmethod
    def of(cls, view: JobView) -> Coming:
        name = cls(f"{view['name']}.safetensors")
        name.awaited = Awaited(view["kind"], view["id"], view["name"], view["uid"])
        return name


def ask_givers(request: dict[str, Any]) -> dict[str, Any]:
    """Have a press also reach the trainer whose adapter the pressed one takes.

    request: what came to /prompt, before ComfyUI has looked at it; it is changed in place.
    """
    prompt = request.get("prompt")
    nodes = prompt if isinstance(prompt, dict) else {}
    for inputs in [_inputs(node) for node in nodes.values() if _is(node, TAKER)]:
        wire, press = inputs.get(SOCKET), inputs.get(PRESS_ID)
        if not (press and isinstance(wire, list) and len(wire) == 2 and wire[1] == ADAPTER):
            continue
        giver = nodes.get(wire[0]) if isinstance(wire[0], str) else None
        if _is(giver, GIVER):
            _inputs(giver).setdefault(ASKED_BY, press)
    return request


def _is(node: Any, class_type: str) -> bool:
    return isinstance(node, dict) and node.get("class_type") == class_type


def _inputs(node: Any) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}
