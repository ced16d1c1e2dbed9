"""The one supervisor of this ComfyUI, and how a node starts a job with it."""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType

import folder_paths

from ...common.names import check_name
from ...common.processes import PYTHON_FLAGS
from ...training.jobs.job import Job
from ...training.jobs.ticket import Awaited, Kind, Policy, Ticket
from ...training.queue.host import Host, JobView
from ...training.queue.supervisor import Supervisor
from . import places

# What the Train button, or who talks to /prompt, puts into a prompt: the press's own name.
PRESS_ID = "run_token"
ASKED_BY = "asked_by"  # the press id of the trainer that takes this one's adapter
_LEAST_BETWEEN_SAMPLES = 150  # steps

PACK = Path(__file__).resolve().parents[2]

_supervisors: list[Supervisor] = []  # none before the first use, and one from then on
_starting = Lock()


def supervisor(host: Host | None = None) -> Supervisor:
    """The one of this ComfyUI, started at the first use; it takes up the jobs of an earlier one.

    host: the server, where there is one. It counts at the first use alone, so ``routes.register``
    brings it before any node runs.
    """
    with _starting:
        if not _supervisors:
            new = Supervisor(places.root(), worker, host or Host())
            new.start()
            _supervisors.append(new)
    return _supervisors[0]


def worker(folder: Path) -> list[str]:
    """The command that runs a job folder."""
    pack = str(PACK / "__main__.py")
    return [sys.executable, *PYTHON_FLAGS, pack, "train", "work", str(folder)]


# Press ids to ids of jobs: a press is one job, however often ComfyUI runs its prompt.
_started: dict[str, str] = {}


def started(press_id: str) -> JobView | None:
    """The job that this press of Train has started already."""
    id = _started.get(press_id)
    return next((view for view in supervisor().views() if view["id"] == id), None)


def on_its_way(uid: str) -> JobView | None:
    """The newest job of a node where its adapter is to come by itself.

    A paused one, or one whose adapter is not at its place, counts while there is no older adapter.
    """
    view = supervisor().latest(uid)
    if view is None or view["adapter"] or view["phase"] in ("stopped", "failed"):
        return None
    stands = view["phase"] in ("paused", "interrupted", "finished")
    return None if stands and supervisor().latest_finished(uid) else view


def start(
    kind: Kind, job: Job, press_id: str, uid: str, policy: Policy, uses: tuple[Path, ...],
    folder: str, others: Mapping[str, Path] = MappingProxyType({}),
    awaits: tuple[Awaited, ...] = (),
) -> JobView:  # fmt: skip  # what, who, and then what becomes of it: a line each
    """Put a job into the queue; returns its view.

    folder: of ComfyUI's, where the adapter will be published under its name; others: more of the
    job's exports, by their names, and where they go; awaits: whose adapters the job takes first.
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
        awaits=awaits,
    )
    view = supervisor().add(replace(job, sample_every=steps_between_samples(job)), ticket)
    _started[press_id] = ticket.id
    return view


def steps_between_samples(job: Job) -> int:
    """Three on the way through the longest stage and one at its end, where that is long.

    A sample is a pass without gradients for each of its steps and scales: what a few steps of
    training take.
    """
    longest = max(stage.steps for stage in job.recipe.stages)
    return max(longest // 4, _LEAST_BETWEEN_SAMPLES)


def new_id(name: str) -> str:
    """Unique, sortable by time, and a plain file name on every system.

    Short: what lies in the job's folder has the whole name once more, and paths have an end.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:20].strip("-") or "adapter"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{plain}-{secrets.token_hex(2)}"


def adapter_name(text: str) -> str:
    """An artist's name for an adapter. Raises UserError for one that cannot be a file's."""
    return check_name(text.strip().removesuffix(".safetensors"), "name")


def describe(view: JobView) -> str:
    """One line about a job, for the status output."""
    what = "training pictures drawn" if view["drawing"] else "steps"
    where = f"{view['step']} of {view['steps']} {what}" if view["steps"] else "no step yet"
    phase, message = view["phase"], view["message"]
    waits = f": waits for {view['waits_for']['name']}" if view["waits_for"] else ""
    return f"{view['name']}, {phase}, {where}{f': {message}' if message else waits}"


def nothing_yet(uid: str) -> str:
    """What a plain Run says of a node that has no adapter."""
    view = supervisor().latest(uid) if uid else None
    if view is None:
        return "Nothing is trained yet: press Train on this node. Run does not train."
    return f"No adapter yet. {describe(view)}."
