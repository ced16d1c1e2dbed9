"""What a job leaves outside its folder: the adapter that artists load, and what it used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...common import files
from ...common.atomic import atomic_path
from ...common.errors import UserError
from .exports import adapter_of
from .job import Job, JobFolder
from .ticket import Published, Ticket, read_published


def publish(folder: JobFolder, job: Job, ticket: Ticket) -> Published:
    """Copy the adapter to where artists find it, once for each export; returns where it is.

    What else the ticket names of the job's exports, such as trained words, goes to its own place
    with it. A file of that name that is not this job's own is left alone: the copy gets a number.
    Raises OSError when there is no room, and UserError when the job's record is damaged, or an
    export that the ticket names is not there though the adapter is.
    """
    before, adapter = read_published(folder.path), folder.exports / adapter_of(job)
    stamp = _stamp(adapter)
    if not ticket.publish or not stamp or stamp == before.stamp:
        return before
    _refuse_missing(folder, ticket)
    target = before.path or str(_free_name(Path(ticket.publish)))
    others = {
        name: before.others.get(name) or str(_free_name(Path(place)))
        for name, place in ticket.others.items()
    }
    if (target, others) != (before.path, before.others):
        # Before the copy: a copy that nobody remembers would get a brother with a number.
        Published(target, "", others).write(folder.path)
    copies = {folder.exports / name: place for name, place in others.items()} | {adapter: target}
    for source, place in copies.items():
        files.make_folder(Path(place).parent)
        with atomic_path(Path(place)) as temporary:
            files.copy(source, temporary)
    published = Published(target, stamp, others)
    published.write(folder.path)
    return published


def _refuse_missing(folder: JobFolder, ticket: Ticket) -> None:
    # Stages are written in their order, so with the adapter all of them are there.
    for name in ticket.others:
        if not (folder.exports / name).is_file():
            raise UserError(
                folder.exports / name, "nothing", "what the job has trained", "Train it again."
            )


def _stamp(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


def _free_name(wanted: Path) -> Path:
    path, number = wanted, 2
    while path.exists():
        path = wanted.with_name(f"{wanted.stem} {number}{wanted.suffix}")
        number += 1
    return path


def remove_unshared(root: Path, ticket: Ticket, others: Iterable[Ticket]) -> None:
    """Remove what only this job used. Nothing elsewhere is ever touched."""
    used = {Path(path).resolve() for other in others for path in other.uses}
    homes = [(root / name).resolve() for name in ("weights", "sets", "pictures")]
    for path in (Path(text).resolve() for text in ticket.uses):
        if path in used or path.parent not in homes:
            continue
        if path.is_dir():
            files.remove_tree(path)
        else:
            files.remove(path)
