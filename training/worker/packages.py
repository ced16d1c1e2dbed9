"""The packages that the worker trains with: said by name where they lack what it takes from them.

requirements.txt has no upper bounds, which would take newer versions from other packs. It is said
here instead, when one is too new.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from ...common.errors import UserError

# (the oldest, the newest) that the tests have passed with; the oldest as in requirements.txt.
TESTED = {"diffusers": ("0.31", "0.42.1"), "peft": ("0.14", "0.21.2")}


def lacking(error: BaseException) -> UserError | None:
    """What an error while importing the worker means, in words; None where it is none of these.

    Both packages import their parts late, and wrap what goes wrong in errors of their own: the
    innermost one names who lacks something.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or cause.__context__
    for inner in chain:
        for package in TESTED:
            if re.search(rf"\b{package}\b", f"{getattr(inner, 'name', '')} {inner}"):
                expected = f"a version from {_range(package)}"
                return UserError(package, _found(package, chain[0]), expected, _move(package))
    return None


def untested() -> str:
    """A sentence on packages that are newer than the tests have seen; empty without any."""
    newer = [p for p, (_, newest) in TESTED.items() if _numbers(_installed(p)) > _numbers(newest)]
    return "".join(
        f" {package} {_installed(package)} is newer than this pack was tested with"
        f" ({_range(package)}). If nothing else helps, go back. {_move(package)}"
        for package in newer
    )


def _found(package: str, error: BaseException) -> str:
    installed = _installed(package)
    if not installed:
        return "no such package"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"version {installed}, which gives other things than the trainer takes ({reason[:200]})"


def _move(package: str) -> str:
    oldest, newest = TESTED[package]
    return f'In ComfyUI\'s Python, run: pip install "{package}>={oldest},<={newest}".'


def _range(package: str) -> str:
    return " to ".join(TESTED[package])


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare by."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
