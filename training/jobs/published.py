"""What a job leaves outside its folder: the adapter that artists load, and what it used."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from threading import Lock

from ...common import files
from ...common.atomic import sync_file, sync_folder
from ...common.errors import UserError
from ...common.names import folded
from . import coming
from .copies import copy_name, stamp_of, sweep_copies, time_in
from .exports import adapter_of
from .job import Job, JobFolder
from .ticket import Published, Ticket, read_published

HOMES = ("weights", "sets", "pictures")  # below the root: what was made for jobs
_CHUNK = 2**22  # bytes that are copied at once
_MOST_COPIES = 3  # of an export that its worker writes anew while it is copied
_ONE_PLACES = Lock()  # of the threads that publish and that remove


class InUse(Exception):
    """A published file that cannot be replaced because another program has it open."""

    def __init__(self, path: Path):
        self.path = path
        super().__init__(path)


class Publication:
    """Brings a job's exports to where artists find them: copied once each, then renamed.

    A copy lies, whole, hidden and under a name that is this job's own, beside its place until the
    system lets it take that; it has the size and the time of the export that it is a copy of, so
    one that a killed process left is known by them. One object at a time may be at work at a job.
    """

    def __init__(self, folder: JobFolder, job: Job, ticket: Ticket):
        self._folder, self._ticket, self._adapter = folder, ticket, adapter_of(job)
        self._wanted = {**ticket.others, self._adapter: ticket.publish}  # places, by name
        self._copied: dict[Path, str] = {}  # for disks whose times are too coarse to tell copies by

    def bring(self, taken: Collection[str] = (), *, beside: bool = False) -> Published:
        """Publish the newest export where it is not yet; returns where it is.

        What else the ticket names of the job's exports, such as trained words, goes to its own
        place with it. A file of that name that is not this job's own is left alone, and so is a
        place of ``taken``, which other jobs have been promised: the copy gets a number. beside: so
        it does where this job's own older copy is in use. Raises InUse, when all else has its
        place; OSError when there is no room; and UserError when the job's record is damaged, or an
        export that the ticket names is not there though the adapter is.
        """
        before = read_published(self._folder.path)
        stamp = self._stamp(self._adapter)
        if not self._ticket.publish or not stamp or stamp == before.stamp:
            return before
        _refuse_missing(self._folder, self._ticket)
        known = self._known(before)
        places = {
            name: known.get(name) or free_name(Path(place), taken)
            for name, place in self._wanted.items()
        }
        if places != known:
            # Before the copy: a copy that nobody remembers would get a brother with a number.
            self._remember(places, before.stamp)
        for folder in {place.parent for place in places.values()}:
            sweep_copies(folder, self._folder.path.parent)
        stamps = {name: self._make_ready(name, place) for name, place in places.items()}
        refused: InUse | None = None
        for name, stamp in stamps.items():
            try:
                self._put(name, places, stamp, before.stamp, taken, beside)
            except InUse as error:
                refused = refused or error
        if refused:
            raise refused
        return self._remember(places, stamps[self._adapter])

    def _known(self, record: Published) -> dict[str, Path]:
        """The places that exports have been promised, by name."""
        places = {**record.others, self._adapter: record.path}
        return {name: Path(place) for name, place in places.items() if place}

    def _remember(self, places: dict[str, Path], stamp: str) -> Published:
        others = {name: str(path) for name, path in places.items() if name != self._adapter}
        record = Published(str(places[self._adapter]), stamp, others)
        record.write(self._folder.path)
        return record

    def _make_ready(self, name: str, place: Path) -> str:
        """Copy one export whole to beside its place, or find it there; returns its stamp."""
        source, waiting = self._folder.exports / name, self._waiting(name, place)
        stamp = stamp_of(source)
        if self._is_copy(place, stamp):
            return stamp
        files.make_folder(place.parent)
        copies = 0
        while not self._is_copy(waiting, stamp):
            if copies == _MOST_COPIES:
                raise OSError(errno.EAGAIN, "it is written anew all the time", str(source))
            stamp, copies = self._copy(source, waiting), copies + 1
        return stamp

    def _put(
        self, name: str, places: dict[str, Path], stamp: str, before: str,
        taken: Collection[str], beside: bool,
    ) -> None:  # fmt: skip  # which copy, where to, and what may be done for that
        """Give a copy its place, or another: that is remembered first. before: as recorded."""
        place = places[name]
        waiting = self._waiting(name, place)
        with _ONE_PLACES:  # so that nobody else takes it between the look and the rename
            if self._is_copy(place, stamp):
                return
            # Its first copy has been promised a place that somebody may have taken meanwhile.
            to_number = not before and place not in self._copied and os.path.lexists(place)
            try:
                if not to_number:
                    _replace(waiting, place)
            except InUse:
                if not beside:
                    raise
                to_number = True
            if to_number:
                places[name] = place = free_name(Path(self._wanted[name]), taken)
                self._remember(places, before)
                files.replace(waiting, place)
        self._copied[place] = self._copied.pop(waiting, stamp)
        sync_folder(place.parent)

    def _copy(self, source: Path, copy: Path) -> str:
        """Copy a file whole; returns the stamp of the source, which may have changed meanwhile.

        The source is opened for an instant at a time: Windows would not let its worker replace it.
        Half a copy does not stay: it would keep a disk full.
        """
        before = stamp_of(source)
        self._copied.pop(copy, None)
        try:
            with files.opened(copy, "wb") as out:
                while chunk := _read_at(source, out.tell()):
                    out.write(chunk)
            sync_file(copy)
            state = source.stat()
            if stamp_of(source) == before:
                os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns))  # last: now it is whole
                self._copied[copy] = before
        except BaseException:
            with contextlib.suppress(OSError):
                files.remove(copy)
            raise
        return stamp_of(source)

    def _stamp(self, name: str) -> str:
        return stamp_of(self._folder.exports / name)

    def _is_copy(self, path: Path, stamp: str) -> bool:
        here = stamp_of(path)
        if not here or here.rpartition("-")[2] != stamp.rpartition("-")[2]:
            return False
        return stamp in (here, self._copied.get(path))

    def _waiting(self, name: str, place: Path) -> Path:
        """How a copy is called until it has its place."""
        return place.with_name(copy_name(self._ticket.id, name))

    def withdraw(self, taken: Collection[str] = (), *, copying: bool = True) -> None:
        """Leave no hidden copy behind, once what the artist has not deleted has its place.

        taken: as for ``bring``. copying: whether there is time to; else BlockingIOError is raised
        where a copy is yet to make. Raises OSError, and UserError for a damaged record.
        """
        record = read_published(self._folder.path)
        if self._is_owed(record):
            if not copying and not self._is_ready(record):
                raise BlockingIOError(errno.EAGAIN, "not copied yet", str(self._folder.path))
            with contextlib.suppress(UserError):  # not whole, so it is not published in part
                self.bring(taken, beside=True)
        for name, place in self._known(record).items():
            files.remove(self._waiting(name, place))

    def _is_owed(self, record: Published) -> bool:
        """Whether the newest export is yet to be brought though the job is being deleted.

        One that its worker writes because of that is not, unless an older one was on its way.
        """
        stamp = self._stamp(self._adapter)
        if not self._ticket.publish or not stamp or stamp == record.stamp:
            return False
        deleted = stamp_of(self._folder.deleted)
        before = not deleted or time_in(stamp) <= time_in(deleted)
        waiting = [self._waiting(*it) for it in self._known(record).items()]
        promised = bool(record.path and not record.stamp)
        return before or promised or any(copy.exists() for copy in waiting)

    def _is_ready(self, record: Published) -> bool:
        known = self._known(record)
        return all(
            name in known
            and any(
                self._is_copy(path, self._stamp(name))
                for path in (known[name], self._waiting(name, known[name]))
            )
            for name in self._wanted
        )


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
        if coming.is_being_written(path):
            every = False
            continue
        coming.forget(path)
        try:
            aside.append(files.set_aside(path, patience_s=0))
        except FileNotFoundError:
            continue
        except OSError:
            every = False
    return aside, every
