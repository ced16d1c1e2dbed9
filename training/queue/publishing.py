"""When a job's newest export is brought to where artists find it, and what is said until it is."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from ...common.errors import UserError
from ..jobs.job import Job, JobFolder
from ..jobs.published import InUse, Publication
from ..jobs.ticket import Published, Ticket, read_published

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0  # between attempts; doubled after each
_FIRST_ATTEMPT_S = 5.0  # so long an end waits to be shown until its adapter is there


class Publishing:
    """Of one job. ``attempt`` takes as long as a copy does; everything else returns at once."""

    def __init__(self, folder: Path, job: Job | None, ticket: Ticket):
        self._folder = folder
        # A folder of its own: here nobody waits, so a virus scanner may be waited for.
        self._publication = Publication(JobFolder(folder), job, ticket) if job else None
        self.published, self.trouble = Published(), ""
        self.read()
        self.begun = False  # whether anything was ever to publish
        self._wishes = self._granted = 0
        self._asked_at, self._due, self._pause_s = 0.0, math.inf, _FIRST_PAUSE_S
        self._at_work = Lock()

    def ask(self) -> None:
        """There may be a newer export: bring it soon."""
        self.begun = True
        self._wishes += 1
        self._asked_at, self._due, self._pause_s = time.monotonic(), 0.0, _FIRST_PAUSE_S

    def hurry(self) -> None:
        """Somebody looks: what waits is tried again at once."""
        if self._due < math.inf:
            self._due, self._pause_s = 0.0, _FIRST_PAUSE_S

    def is_due(self, now: float) -> bool:
        return self._publication is not None and now >= self._due

    @property
    def begins(self) -> bool:
        """Whether the newest export is just being brought, for the first time."""
        awaited = self._granted < self._wishes and self._publication is not None
        return awaited and time.monotonic() - self._asked_at < _FIRST_ATTEMPT_S

    def attempt(self, taken: Collection[str]) -> None:
        """Bring the newest export to its place, or say why not. taken: as for ``bring``."""
        with self._at_work:
            if self._publication is None or self._publication.given_up:
                return
            wishes = self._wishes
            try:
                self.published = self._publication.bring(taken)
                self.trouble = ""
            except InUse as error:
                self.trouble = _in_use(error.path)
            except (OSError, UserError) as error:
                self.trouble = f"The adapter is in the job's folder only: {error}"[:300]
            if self.trouble:
                self.read()  # the place may be promised already
            self._granted = wishes
            if wishes == self._wishes:  # nobody has asked meanwhile
                self._due = time.monotonic() + self._pause_s if self.trouble else math.inf
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def read(self) -> None:
        """See where whoever steers the jobs has put the adapter."""
        try:
            self.published = read_published(self._folder, patient=False)
        except PermissionError:
            return  # for an instant
        except (OSError, UserError):
            self.published = Published()

    def withdraw(self) -> None:
        """Leave nothing but what artists find. Raises OSError where something is in use."""
        if self._publication is None:
            return
        self._publication.given_up = True  # a copy under way ends
        with self._at_work:
            try:
                self._publication.withdraw()
            except UserError:
                return  # a damaged record: nobody knows where a copy would be


def _in_use(path: Path) -> str:
    """What an artist can do about a file that keeps its place."""
    try:
        protected = not path.stat().st_mode & 0o200
    except OSError:
        protected = False
    if protected:
        return f"{path.name} is write-protected. The newer one takes its place when it is not."
    return (
        f"Another program has {path.name} open, perhaps ComfyUI itself. The newer one takes its "
        "place as soon as that lets it go."
    )
