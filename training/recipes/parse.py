"""Plain JSON data as a value of an annotated type: what does not fit is refused by its name.

Only the standard library.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ...common.errors import UserError

_T = TypeVar("_T")


def parse(kind: type[_T], value: Any, where: str) -> _T:
    """Build a value of the annotated type from plain JSON data.

    kind: a dataclass, whose fields may be Literal, tuple[X, ...], dict[str, X], str, int, float,
    bool or dataclasses. where: the value's place, in messages. Raises UserError for what does not
    fit; unknown fields are errors, absent ones must have a default.
    """
    return _parse(kind, value, where)


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin is tuple and isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in items)
    if origin is dict and isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {name: _parse(args[1], item, f"{where}.{name}") for name, item in pairs}
    if not (value in args if origin is Literal else _is_plain(kind, value)):
        raise UserError(where, repr(value)[:80], _describe(kind), "Change this field.")
    return float(value) if kind is float else value


def _is_plain(kind: Any, value: Any) -> bool:
    """Whether a value is of exactly that type; a float may be written as an integer."""
    if kind is not float:
        return type(value) is kind
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # no infinity, no NaN, no 400 digits


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(where, type(value).__name__, "an object", "Change this field.")
    data = cast("dict[str, Any]", value)
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            raise UserError(
                where, f"unknown field {name!r}", f"only {', '.join(fields)}", "Remove it."
            )
    required = (
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    for name in required:
        if name not in data:
            raise UserError(where, f"no field {name!r}", "a value for it", "Add it.")
    return kind(**{k: _parse(hints[k], v, f"{where}.{k}") for k, v in data.items()})


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    return getattr(kind, "__name__", str(kind))
