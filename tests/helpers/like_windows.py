"""What Windows refuses and Linux does not, on the real file system, so that Linux tries it, too."""

from __future__ import annotations

import builtins
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from still_moving.common import files

ACCESS_DENIED, IN_USE, MAPPED = 5, 32, 1224


def refused(winerror: int | None = None, kind: type[OSError] = PermissionError) -> OSError:
    """What Python raises there; None: by what opens files, which gives no number."""
    number = 13 if kind is PermissionError else 22  # OSError(13) would become a PermissionError
    error = kind(number, "refused")
    if winerror is not None:
        error.winerror = winerror  # type: ignore[attr-defined]  # Windows' Python has it
    return error


def refuse_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *errors: Exception) -> None:
    """Have a function raise these, one a call, before it works."""
    waiting, work = list(errors), getattr(owner, name)

    def refusing(*given: Any, **named: Any) -> Any:
        if waiting:
            raise waiting.pop(0)
        return work(*given, **named)

    monkeypatch.setattr(owner, name, refusing)


def be_like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience as there, and its refusal of files and folders that are read-only."""
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "open", builtins.open, raising=False)  # to be refused by a test
    if os.name == "nt":
        return
    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, _keeping(getattr(os, name), lambda given: given[:1]))
    monkeypatch.setattr(os, "replace", _keeping(os.replace, lambda given: given[1:2]))
    monkeypatch.setattr(os, "open", _keeping(os.open, _written_by_os))
    monkeypatch.setattr(files, "open", _keeping(builtins.open, _written), raising=False)


def _keeping(work: Callable[..., Any], touched: Callable[[Any], Iterable[Any]]) -> Any:
    """The function, but for files and folders that are read-only."""

    def refusing(*given: Any, **named: Any) -> Any:
        for path in touched(given):
            if _is_read_only(path, named.get("dir_fd")):
                raise refused(ACCESS_DENIED)
        return work(*given, **named)

    return refusing


def _is_read_only(path: Any, folder: int | None) -> bool:
    try:
        return not os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode & stat.S_IWUSR
    except OSError:
        return False


def _written(given: Any) -> list[Path]:
    return [given[0]] if len(given) > 1 and given[1] != "rb" else []


def _written_by_os(given: Any) -> list[Path]:
    return [given[0]] if given[1] & (os.O_RDWR | os.O_WRONLY) else []
