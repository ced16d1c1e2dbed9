"""Windows' refusals on any system: what is open can be neither renamed, replaced nor removed.

A stand-in for the four calls of ``os`` that change names, as this process makes them below one
folder: each is refused as Windows refuses it while some process, this one too, has the file open,
or for a folder a file in it. Who has what open is asked of the system (/proc).
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock


def open_below(root: str) -> set[str]:
    """The files below a folder that any process has open or mapped."""
    found = set()
    for process in os.listdir("/proc"):
        try:
            links = [
                os.path.join(f"/proc/{process}/fd", fd) for fd in os.listdir(f"/proc/{process}/fd")
            ]
        except (OSError, ValueError):
            continue
        for link in links:
            try:
                found.add(os.readlink(link))
            except OSError:
                continue
    return {path for path in found if path.startswith(root + os.sep) and not os.path.isdir(path)}


class Refusals:
    """What was refused so far."""

    def __init__(self, root: Path):
        self.root, self.paths = os.path.realpath(root), []

    def check(self, *paths: str) -> None:
        if not paths[0].startswith(self.root + os.sep):
            return
        opened = open_below(self.root)
        for path in paths:
            if any(it == path or it.startswith(path + os.sep) for it in opened):
                self.paths.append(path)
                raise PermissionError(errno.EACCES, "in use", path)


def _full(path, dir_fd) -> str:
    text = os.fspath(path)
    if dir_fd is None:
        return os.path.abspath(text)
    return os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)


@contextlib.contextmanager
def windows_refusals(root: Path) -> Iterator[Refusals]:
    """Below ``root``, this process is refused what Windows would refuse."""
    refusals = Refusals(root)
    if os.name == "nt":
        yield refusals
        return
    real = {name: getattr(os, name) for name in ("rename", "replace", "unlink", "rmdir", "remove")}

    def two(name):
        def act(source, target, **more):
            refusals.check(_full(source, None), _full(target, None))
            return real[name](source, target, **more)

        return act

    def one(name):
        def act(path, *, dir_fd=None):
            refusals.check(_full(path, dir_fd))
            return real[name](path, dir_fd=dir_fd)

        return act

    with contextlib.ExitStack() as stack:
        for name in real:
            stand_in = two(name) if name in ("rename", "replace") else one(name)
            stack.enter_context(mock.patch.object(os, name, stand_in))
        yield refusals
