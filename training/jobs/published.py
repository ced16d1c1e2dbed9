"""What a job leaves outside its folder: the adapter that artists load, and what it used."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from ...common import files
from ...common.atomic import sync_file, sync_folder
from ...common.errors import UserError
from ...common.names import folded
from .exports import adapter_of
from .job import Job, JobFolder
from .ticket import Published, Ticket, read_published

HOMES = ("weights", "sets", "pictures")  # below the root: what was made for jobs
_CHUNK = 2**22  # bytes that are copied at once
_MOST_COPIES = 3  # of an export that its worker writes anew while it is copied


class InUse(Exception):
    """A published file that cannot be replaced because another program has it open."""

    def __init__(self, path: Path):
        self.path = path
        super().__init__(path)


class Publication:
    """Brings a job's exports to where artists find them: copied once each, then renamed.

    A copy lies, whole, hidden and under a name that is this job's own, beside its place until the
    system lets it take that; it has the size and the time of the export that it is a copy of, so
    one that a killed process left is known by them.
    """

    def __init__(self, folder: JobFolder, job: Job, ticket: Ticket):
        self._folder, self._job, self._ticket = folder, job, ticket
        self._copied: dict[Path, str] = {}  # for disks whose times are too coarse to tell copies by
        self.given_up = False  # the job is being deleted: a copy under way ends

    def bring(self, taken: Collection[str] = ()) -> Published:
        """Publish the newest export where it is not yet; returns where it is.

        What else the ticket names of the job's exports, such as trained words, goes to its own
        place with it. A file of that name that is not this job's own is left alone, and so is a
        place of ``taken``, which other jobs have been promised: the copy gets a number. Raises
        InUse; OSError when there is no room; and UserError when the job's record is damaged, or an
        export that the ticket names is not there though the adapter is.
        """
        before = read_published(self._folder.path)
        adapter = self._folder.exports / adapter_of(self._job)
        stamp = _stamp(adapter)
        if not self._ticket.publish or not stamp or stamp == before.stamp:
            return before
        _refuse_missing(self._folder, self._ticket)
        target = before.path or str(free_name(Path(self._ticket.publish), taken))
        others = {
            name: before.others.get(name) or str(free_name(Path(place), taken))
            for name, place in self._ticket.others.items()
        }
        if (target, others) != (before.path, before.others):
            # Before the copy: a copy that nobody remembers would get a brother with a number.
            Published(target, before.stamp, others).write(self._folder.path)
        exports = {self._folder.exports / name: Path(place) for name, place in others.items()}
        stamps = [self._place(source, place) for source, place in exports.items()]
        stamps.append(self._place(adapter, Path(target)))
        published = Published(target, stamps[-1], others)
        published.write(self._folder.path)
        return published

    def _place(self, source: Path, place: Path) -> str:
        """Bring one export to its place; returns its stamp."""
        waiting, stamp = self._waiting(source.name, place), _stamp(source)
        if self._is_copy(place, stamp):
            return stamp
        files.make_folder(place.parent)
        copies = 0
        while not self._is_copy(waiting, stamp):
            if copies == _MOST_COPIES:
                raise OSError(errno.EAGAIN, "it is written anew all the time", str(source))
            stamp, copies = self._copy(source, waiting), copies + 1
        _replace(waiting, place)
        self._copied[place] = self._copied.pop(waiting, stamp)
        sync_folder(place.parent)
        return stamp

    def _copy(self, source: Path, copy: Path) -> str:
        """Copy a file whole; returns the stamp of the source, which may have changed meanwhile.

        The source is opened for an instant at a time: Windows would not let its worker replace it.
        """
        before = _stamp(source)
        self._copied.pop(copy, None)
        with files.opened(copy, "wb") as out:
            while chunk := _read_at(source, out.tell()):
                out.write(chunk)
                if self.given_up:
                    raise InterruptedError("the job is being deleted")
        sync_file(copy)
        state = source.stat()
        if _stamp(source) == before:
            os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns))  # last: now it is whole
            self._copied[copy] = before
        return _stamp(source)

    def _is_copy(self, path: Path, stamp: str) -> bool:
        here = _stamp(path)
        if not here or here.rpartition("-")[2] != stamp.rpartition("-")[2]:
            return False
        return stamp in (here, self._copied.get(path))

    def _waiting(self, name: str, place: Path) -> Path:
        """How a copy is called until it has its place; no loader takes it for an adapter."""
        digest = hashlib.sha256(f"{self._ticket.id}/{name}".encode()).hexdigest()
        return place.with_name(f".sm-{digest[:10]}.part")

    def withdraw(self) -> None:
        """Leave no hidden copy behind. One that waited whole is kept: it takes a free name.

        Raises OSError, and UserError for a damaged record.
        """
        record = read_published(self._folder.path)
        exports = {adapter_of(self._job): record.path, **record.others}
        for name, place in exports.items():
            waiting = self._waiting(name, Path(place)) if place else None
            if waiting is None or not waiting.exists():
                continue
            if self._is_copy(waiting, _stamp(self._folder.exports / name)):
                try:
                    _replace(waiting, Path(place))
                except InUse:
                    files.replace(waiting, free_name(Path(place)))
            files.remove(waiting)


def _replace(source: Path, target: Path) -> None:
    """A rename that may be refused for as long as another program likes. Raises InUse."""
    try:
        files.replace(source, target, patience_s=0)
    except OSError as error:
        if isinstance(error, PermissionError) or files.passes(error, files.WINDOWS):
            raise InUse(target) from None
        raise


def _read_at(path: Path, offset: int) -> bytes:
    with files.opened(path) as file:
        file.seek(offset)
        return file.read(_CHUNK)


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


def same_name(path: Path) -> str:
    """What two paths have in common that are one file on some system's disk.

    Windows and macOS take "Dog" for "dog", and macOS one way to write "ü" for the other; a folder
    of adapters may be shared with them.
    """
    return folded(str(path))


def free_name(wanted: Path, taken: Collection[str] = ()) -> Path:
    """A name that nothing has, on no system. taken: more paths, as ``same_name`` gives them."""
    used, number, path = set(taken), 2, wanted
    with contextlib.suppress(FileNotFoundError):
        used |= {same_name(wanted.parent / name) for name in os.listdir(wanted.parent)}
    while same_name(path) in used:
        path = wanted.with_name(f"{wanted.stem} {number}{wanted.suffix}")
        number += 1
    return path


def set_aside_unshared(
    root: Path, ticket: Ticket, others: Iterable[Ticket]
) -> tuple[list[Path], bool]:
    """Take the names off what only this job used: (what is left to remove, whether that is all).

    Nothing elsewhere is ever touched. At once or not at all: what is in use keeps its name, whole.
    """
    used = {Path(path).resolve() for other in others for path in other.uses}
    homes = [(root / name).resolve() for name in HOMES]
    aside: list[Path] = []
    every = True
    for path in (Path(text).resolve() for text in ticket.uses):
        if path in used or path.parent not in homes:
            continue
        try:
            aside.append(files.set_aside(path, patience_s=0))
        except FileNotFoundError:
            continue
        except OSError:
            every = False
    return aside, every
