"""Who a job is for: its name, its node, what becomes of its adapter. Written once.

Beside it lies published.json: where the adapter went, and which export that was.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from ...common import files
from ...common.atomic import atomic_write_text
from ...common.errors import UserError
from ..recipes.parse import parse

Kind = Literal["motion", "spatial", "customize-a-video", "vmc", "newmove"]
Policy = Literal["yield", "keep", "share"]
TICKET_FILE, PUBLISHED_FILE = "about.json", "published.json"
_File = TypeVar("_File")  # what a file holds
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")  # no leading dot: those are not jobs


@dataclass(frozen=True)
class Awaited:
    """A job whose adapter another job takes. Where it has none to give, a later one of its node."""

    kind: Kind  # of job; the recipe of who takes it calls its adapter the same
    id: str
    name: str  # for people, who may have deleted it
    uid: str  # of its node


@dataclass(frozen=True)
class Ticket:
    """What the supervisor has to know of a job beside the job itself. Paths are absolute."""

    id: str  # the folder's name
    name: str  # for people
    kind: Kind
    uid: str  # of the node that began it
    created: float  # seconds since 1970
    policy: Policy = "yield"  # how it shares the device with ComfyUI's queue
    publish: str = ""  # file that the finished adapter is copied to
    uses: tuple[str, ...] = ()  # what was made for it and goes with the last job that uses it
    # More exports, by name, and their places.
    others: dict[str, str] = field(default_factory=dict[str, str])
    awaits: tuple[Awaited, ...] = ()  # whose adapters it takes before it begins

    def write(self, folder: Path) -> None:
        atomic_write_text(folder / TICKET_FILE, json.dumps(dataclasses.asdict(self), indent=2))


@dataclass(frozen=True)
class Published:
    """The copy of a job's adapter. stamp: time and size of the export that it is a copy of.

    others: where other exports went, by name.
    """

    path: str = ""
    stamp: str = ""
    others: dict[str, str] = field(default_factory=dict[str, str])

    def write(self, folder: Path) -> None:
        atomic_write_text(folder / PUBLISHED_FILE, json.dumps(dataclasses.asdict(self)))


def read_ticket(folder: Path, *, patient: bool = True) -> Ticket:
    """Raises UserError when the file is missing or damaged, or is another job's.

    patient: as of a JobFolder; without it, PermissionError is raised at once.
    """
    try:
        ticket = _read(folder / TICKET_FILE, Ticket, patient)
    except FileNotFoundError:
        raise UserError(
            folder / TICKET_FILE, "nothing", "a job's file", "Delete the job."
        ) from None
    if ticket.id != folder.name:
        raise UserError(
            folder / TICKET_FILE,
            f"the id {ticket.id[:60]!r}",
            f"the folder's name {folder.name!r}",
            "Give the folder its name back, or delete the job.",
        )
    return ticket


def read_published(folder: Path, *, patient: bool = True) -> Published:
    """Where the adapter went; nowhere yet, as long as there is no file."""
    try:
        return _read(folder / PUBLISHED_FILE, Published, patient)
    except FileNotFoundError:
        return Published()


def _read(path: Path, kind: type[_File], patient: bool) -> _File:
    try:
        data = json.loads(files.read_text(path, patience_s=None if patient else 0.0))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, PermissionError) and not patient:
            raise
        raise UserError(path, f"unreadable ({error})", "a job's file", "Delete the job.") from None
    return parse(kind, data, str(path))


def is_id(name: str) -> bool:
    """Whether a name can be a job's: plain characters, at most 120, nothing that is a path.

    New ones are also names that every system takes (``Board.check_new``).
    """
    return bool(_ID.fullmatch(name)) and ".." not in name
