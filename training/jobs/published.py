"""What a job leaves outside its folder: the adapter that artists load, and what it used."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ...common import system
from ...common.atomic import atomic_path
from .job import Job, JobFolder
from .ticket import Published, Ticket, read_published


def export_of(folder: JobFolder, job: Job) -> Path:
    """Where the worker writes the job's adapter, the one of its last stage."""
    return folder.exports / f"{job.name}.safetensors"


def publish(folder: JobFolder, job: Job, ticket: Ticket) -> Published:
    """Copy the adapter to where artists find it, once for each export; returns where it is.

    What else the job has exported, such as trained words, goes to its own place with it.

    A file of that name that is not this job's own is left alone: the copy gets a number. Raises
    OSError when there is no room, and UserError when the job's record is damaged.
    """
    done, export = read_published(folder.path), export_of(folder, job)
    stamp = _stamp(export)
    if not ticket.publish or not stamp or stamp == done.stamp:
        return done
    target = done.path or str(_free_name(Path(ticket.publish)))
    others = {
        name: done.others.get(name) or str(_free_name(Path(wanted)))
        for name, wanted in ticket.others.items()
        if (folder.exports / name).is_file()
    }
    if (target, others) != (done.path, done.others):
        # Before the copy: a copy that nobody remembers would get a brother with a number.
        Published(target, "", others).write(folder.path)
    copies = {folder.exports / name: place for name, place in others.items()} | {export: target}
    for source, place in copies.items():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(Path(place)) as temporary:
            shutil.copyfile(source, temporary)
    made = Published(target, stamp, others)
    made.write(folder.path)
    return made


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
            system.remove_tree(path)
        else:
            system.patient(lambda path=path: path.unlink(missing_ok=True))
