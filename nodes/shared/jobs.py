"""The one supervisor of this ComfyUI, and how a node starts a job with it."""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import folder_paths

from ...training.jobs.job import Job
from ...training.jobs.ticket import Kind, Ticket
from ...training.queue.supervisor import Supervisor
from ...training.recipes.recipe import check_name
from . import places

PACK = Path(__file__).resolve().parents[2]

# What the server gives, when there is one (nodes/routes.py): without it, jobs run and nobody looks.
busy: Callable[[], bool] = lambda: False  # noqa: E731
tell: Callable[[dict[str, Any]], None] = lambda view: None  # noqa: E731
forget: Callable[[dict[str, Any]], None] = lambda removed: None  # noqa: E731


@lru_cache(maxsize=1)
def supervisor() -> Supervisor:
    """Started at the first use; it takes up the jobs of an earlier ComfyUI."""
    made = Supervisor(
        places.root(), worker, lambda: busy(), lambda view: tell(view), lambda gone: forget(gone)
    )
    made.start()
    return made


def worker(folder: Path) -> list[str]:
    """The command that runs a job folder. -s: as the portable build starts ComfyUI itself."""
    return [sys.executable, "-s", str(PACK / "__main__.py"), "train", "work", str(folder)]


_started: dict[str, str] = {}  # tokens to ids: a press of Train is one job, whatever is run again


def started(token: str) -> dict[str, Any] | None:
    """The job that this press of Train has started already."""
    known = _started.get(token)
    return next((v for v in supervisor().views() if v["id"] == known), None)


def start(
    kind: Kind, job: Job, token: str, uid: str, policy: Any, uses: tuple[Path, ...], folder: str,
    others: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Any]:  # fmt: skip
    """Put a job into the queue; returns its view.

    folder: of ComfyUI's, where the adapter will be published under its name; others: more of the
    job's exports, by their names, and where they go.
    """
    publish = Path(folder_paths.get_folder_paths(folder)[0]) / f"{job.name}.safetensors"
    ticket = Ticket(
        id=new_id(job.name),
        name=job.name,
        kind=kind,
        uid=uid,
        created=time.time(),
        policy=policy,
        publish=str(publish),
        others={name: str(path) for name, path in others.items()},
        uses=tuple(str(path) for path in uses),
    )
    view = supervisor().add(job, ticket)
    _started[token] = ticket.id
    return view


def new_id(name: str) -> str:
    """Unique, sortable by time, and a plain file name on every system."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "adapter"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{plain}-{secrets.token_hex(2)}"


def adapter_name(text: str) -> str:
    """An artist's name for an adapter. Raises UserError for a name that is a path."""
    return check_name(text.strip().removesuffix(".safetensors"), "name")


def describe(view: dict[str, Any]) -> str:
    """One line about a job, for the status output."""
    where = f"{view['step']} of {view['steps']} steps" if view.get("steps") else "no step yet"
    message = f": {view['message']}" if view.get("message") else ""
    return f"{view['name']}, {view['phase']}, {where}{message}"


def nothing_yet(uid: str) -> str:
    """What a plain Run says of a node that has no adapter."""
    now = supervisor().latest(uid) if uid else None
    if now is None:
        return "Nothing is trained yet: press Train on this node. Run does not train."
    return f"No adapter yet. {describe(now)}."
