"""Imported by every Python whose PYTHONPATH has this folder: it notes each path that is touched.

Below STILL_MOVING_WATCH, into the file STILL_MOVING_PATHS: a line "what happened, tab, path". Child
processes inherit both. Files that a library opens itself, not through Python, are not seen.
"""

import os
import sys

_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}
_seen: set[tuple[str, str]] = set()


def _watch(base: str, out: int) -> None:
    def note(event: str, arguments: tuple) -> None:
        if event not in _EVENTS:
            return
        for argument in arguments[:2]:
            if not isinstance(argument, (str, bytes, os.PathLike)):
                continue
            path = os.path.abspath(os.fsdecode(argument))
            if path.startswith(base) and (event, path) not in _seen:
                _seen.add((event, path))
                os.write(out, f"{event}\t{path}\n".encode("utf-8", "surrogateescape"))

    sys.addaudithook(note)


if "STILL_MOVING_WATCH" in os.environ:
    _flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    _watch(
        os.environ["STILL_MOVING_WATCH"] + os.sep, os.open(os.environ["STILL_MOVING_PATHS"], _flags)
    )
