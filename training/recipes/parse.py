"""Plain JSON data as a value of an annotated type: what does not fit is refused by its name.

Only the standard library.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ...common.errors import UserError


def parse(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type from plain JSON data; unknown fields are errors."""
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_dataclass(kind, value, where)
    if origin is Literal:
        ok = value in args
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        ok = False
    elif origin is dict:
        if isinstance(value, dict):
            return {str(k): parse(args[1], v, f"{where}.{k}") for k, v in value.items()}
        ok = False
    elif origin in (UnionType, typing.Union):
        if value is None:
            return None
        return parse(args[0], value, where)
    elif kind is float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        ok = ok and abs(value) <= sys.float_info.max  # no infinity, no NaN, no 400 digits
        value = float(value) if ok else value
    else:
        ok = type(value) is kind
    if not ok:
        raise UserError(where, repr(value)[:80], _describe(kind), "Change this field.")
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(where, type(value).__name__, "an object", "Change this field.")
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value:
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
        if name not in value:
            raise UserError(where, f"no field {name!r}", "a value for it", "Add it.")
    return kind(**{k: parse(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    return getattr(kind, "__name__", str(kind))
