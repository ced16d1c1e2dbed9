"""Parts of a work, made side by side by processes that take the next one that can be made.

The process that everybody sees makes nothing: it hands out parts and hears how far the others are,
through their standard input and output, a line of JSON at a time. They have a session of their own,
where no Ctrl+C reaches them, and end with their input: when the work is done, when it is
interrupted, and when whoever began it is killed. Only the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from ..common.errors import UserError
from ..common.system import WINDOWS

_POLL_S = 0.2  # on Windows, nothing interrupts a wait without an end
_NEW_GROUP = 0x200  # subprocess has a name for it only on Windows

Report = Callable[[float, str], None]  # (share of the part that is made, a word on it)
Message = dict[str, Any]  # what a process says


class Part(NamedTuple):
    """Something to be made, whose result is in files."""

    name: str
    make: Callable[[Report], None]
    cost: float  # against the other parts
    needs: tuple[str, ...] = ()  # names of the parts that are made before it
    about: str = ""  # said when it begins


Watcher = Callable[[Part, float, str], None]  # a report, and the part; with share 0 it begins


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---------------------------------------------------------------------------- one process
def make_here(parts: Sequence[Part], watcher: Watcher) -> None:
    """Make the parts one after the other in this process."""
    made: set[str] = set()
    while part := _next(parts, made, made):
        watcher(part, 0.0, "")
        part.make(partial(watcher, part))
        watcher(part, 1.0, "")
        made.add(part.name)


def _next(parts: Sequence[Part], begun: set[str], made: set[str]) -> Part | None:
    """The first part that is not begun and that nothing is missing for."""
    return next((p for p in parts if p.name not in begun and made.issuperset(p.needs)), None)


# ------------------------------------------------------------------------ the one that is seen
def make_beside(
    parts: Sequence[Part], command: list[str], plan: str, processes: int, watcher: Watcher
) -> None:
    """Have processes make the parts; the first of the list that can be made is the next.

    command: starts a process that calls ``serve``; plan: one line, which it is given. Raises what
    a part raised there: UserError as it is, else RuntimeError with the traceback.
    """
    heard: SimpleQueue[tuple[_Lane, Message]] = SimpleQueue()
    begun, made = set[str](), set[str]()
    with ExitStack() as stack:
        lanes = [_Lane(command, plan, heard) for _ in range(processes)]
        for lane in lanes:
            stack.callback(lane.end)
        while len(made) < len(parts):
            for lane in lanes:
                part = None if lane.part else _next(parts, begun, made)
                if part:
                    begun.add(part.name)
                    lane.make(part)
                    watcher(part, 0.0, "")
            lane, message = _wait(heard)
            part = lane.understand(message)
            watcher(part, message["share"], message["word"])
            if message["made"]:
                made.add(part.name)


def _wait(heard: SimpleQueue[tuple[_Lane, Message]]) -> tuple[_Lane, Message]:
    while True:
        with contextlib.suppress(Empty):
            return heard.get(timeout=_POLL_S)


class _Lane:
    """A process that makes one part after the other, seen from outside."""

    def __init__(self, command: list[str], plan: str, heard: SimpleQueue):
        apart: dict[str, Any] = (
            {"creationflags": _NEW_GROUP} if WINDOWS else {"start_new_session": True}
        )
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, encoding="utf-8", errors="replace", **apart
        )
        self.part: Part | None = None
        self._heard = heard
        self._say(plan)
        Thread(target=self._listen, daemon=True).start()

    def make(self, part: Part) -> None:
        self.part = part
        self._say(part.name)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def understand(self, message: Message) -> Part:
        """The part that a message is about. Raises what the process failed with."""
        part = self.part
        if "mend" in message:
            raise UserError(*message["mend"])
        if "crash" in message:
            raise RuntimeError(f"{part.name if part else 'a process'}: {message['crash']}")
        if part is None or "ended" in message:
            raise UserError(
                part.name if part else "a process",
                f"the end of its process, {message.get('ended')}",
                "a result",
                "Has memory run out? Close other programs and start again.",
            )
        if message["made"]:
            self.part = None
        return part

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: that will be heard
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.put((self, json.loads(line)))
        self._heard.put((self, {"ended": f"exit code {self.process.wait()}"}))


# ---------------------------------------------------------------------- one that makes parts
def serve(parts_of: Callable[[str], Sequence[Part]]) -> int:
    """Make what standard input asks for, part by part, until it ends. parts_of: of a plan."""
    asked: SimpleQueue[str] = SimpleQueue()
    answers, sys.stdout = sys.stdout, sys.stderr  # what others print is no answer

    def read() -> None:
        for line in sys.stdin:
            asked.put(line.rstrip("\n"))
        os._exit(0)  # in the middle of a part, too

    def say(message: Message) -> None:
        print(json.dumps(message), file=answers, flush=True)

    def report(share: float, word: str) -> None:
        say({"made": False, "share": share, "word": word})

    Thread(target=read, daemon=True).start()
    parts = {part.name: part for part in parts_of(asked.get())}
    while True:
        name = asked.get()
        try:
            parts[name].make(report)
        except UserError as error:
            about = (str(error.subject), error.found, error.expected, error.next_move)
            say({"mend": about})
        except Exception:
            say({"crash": traceback.format_exc()})
        else:
            say({"made": True, "share": 1.0, "word": ""})
