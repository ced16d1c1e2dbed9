"""When a job's newest export is brought to where artists find it, and what is said until it is."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from ...common.errors import UserError
from ..jobs.job import Job, JobFolder
from ..jobs.published import InUse, Publication
from ..jobs.ticket import Published, Ticket, read_published

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0  # between attempts; doubled after each
_FIRST_ATTEMPT_S = 5.0  # so long an end waits to be shown until its adapter is there
_TURN_S = 1.0  # how long a deletion waits for an attempt that is under way
_AT_WORK: WeakValueDictionary[Path, Lock] = WeakValueDictionary()  # by a job's folder


class Publishing:
    """Of one job. ``attempt`` and ``withdraw`` take as long as a copy does, and ``look`` as long
    as the place where the adapter is; everything else returns at once.
    """

    def __init__(self, folder: Path, job: Job | None, ticket: Ticket):
        self._folder = folder
        # A folder of its own: here nobody waits, so a virus scanner may be waited for.
        self._publication = Publication(JobFolder(folder), job, ticket) if job else None
        self.published, self.trouble = Published(), ""
        self.read()
        self.begun = False  # whether anything was ever to publish
        self.missing = ""  # where the adapter was not at the last look
        self._wishes = self._granted = 0
        self._asked, self._asked_at = False, 0.0
        self._due, self._pause_s = math.inf, _FIRST_PAUSE_S  # of the next attempt after a failure
        self._withdrawn = False
        self._at_work = _AT_WORK.setdefault(folder, Lock())

    def ask(self) -> None:
        """There may be a newer export: bring it soon."""
        self.begun = True
        self._wishes += 1
        self._asked_at, self._pause_s = time.monotonic(), _FIRST_PAUSE_S
        self._asked = True

    def hurry(self) -> None:
        """Somebody looks: what waits is tried again at once."""
        if self._due < math.inf:
            self._due, self._pause_s = 0.0, _FIRST_PAUSE_S

    def is_due(self, now: float) -> bool:
        return self._publication is not None and (self._asked or now >= self._due)

    @property
    def _awaited(self) -> bool:
        return self._granted < self._wishes and self._publication is not None

    @property
    def begins(self) -> bool:
        """Whether the newest export is just being brought, for the first time."""
        return self._awaited and time.monotonic() - self._asked_at < _FIRST_ATTEMPT_S

    @property
    def progress(self) -> str:
        """What to say of an ended job while its newest export is brought; else empty."""
        return "The adapter is being copied to its place." if self._awaited else ""

    def attempt(self, taken: Collection[str]) -> None:
        """Bring the newest export to its place, or say why not. taken: as for ``bring``."""
        # First, so that whoever asks from here on, in another thread, is heard afterwards.
        self._asked, self._due = False, time.monotonic() + self._pause_s
        with self._at_work:
            if self._publication is None or self._withdrawn:
                self._due = math.inf
                return
            wishes = self._wishes
            try:
                self.published = self._publication.bring(taken)
                self.trouble = self.missing = ""
            except InUse as error:
                self.trouble = _in_use(error.path)
            except (OSError, UserError) as error:
                self.trouble = f"The adapter is in the job's folder only: {error}"[:300]
            if self.trouble:
                self.read()  # the place may be promised already
            self._due = time.monotonic() + self._pause_s if self.trouble else math.inf
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._granted = wishes

    def look(self) -> None:
        """See whether the adapter is where it was published: somebody may have removed it."""
        path = self.published.path
        self.missing = "" if not path or os.path.isfile(path) else path

    def read(self) -> None:
        """See where whoever steers the jobs has put the adapter."""
        try:
            self.published = read_published(self._folder, patient=False)
        except PermissionError:
            return  # for an instant
        except (OSError, UserError):
            self.published = Published()

    def withdraw(self, taken: Collection[str], *, copying: bool) -> None:
        """Leave nothing but what artists find, which is brought first. taken, copying: as there.

        Raises OSError where something is in use, or is yet to be copied: then it is asked again.
        """
        if self._publication is None:
            return
        if not self._at_work.acquire(timeout=_TURN_S):
            raise BlockingIOError(errno.EAGAIN, "it is being copied", str(self._folder))
        try:
            self._publication.withdraw(taken, copying=copying)
            self._withdrawn = True
        except UserError:
            return  # a damaged record: nobody knows where a copy would be
        finally:
            self._at_work.release()


def _in_use(path: Path) -> str:
    """What an artist can do about a file that keeps its place."""
    return (
        f"Another program has {path.name} open, perhaps ComfyUI itself. The newer one takes its "
        "place as soon as that lets it go."
    )
