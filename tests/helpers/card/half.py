"""A CPU's kernels in half precision: in fp32 where the CPU lacks them, or is slow at them.

A card multiplies halves and adds the products up in fp32, so the heavy ones lose nothing by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
_HEAVY = ("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm")
_LACKING = ("not implemented for", "not supported")


def compute(op: Any, written: frozenset[str], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The CPU's result. written: names of the arguments that it writes to."""
    name = op._schema.name.removeprefix("aten::")
    halves = any(isinstance(a, Tensor) and a.dtype in HALF for a in (*args, *kwargs.values()))
    if name in _HEAVY and halves:
        return _in_fp32(op, written, args, kwargs)
    try:
        return op(*args, **kwargs)
    except (RuntimeError, NotImplementedError) as error:
        lacking = any(words in str(error).lower() for words in _LACKING)
        if not lacking or not _dtypes_of([args, list(kwargs.values())]):
            raise
    return _in_fp32(op, written, args, kwargs)


def _in_fp32(op: Any, written: frozenset[str], args: list[Any], kwargs: dict[str, Any]) -> Any:
    narrow = dict(zip((a.name for a in op._schema.arguments), args, strict=False)) | kwargs
    wide_args = [_widened(value) for value in args]
    wide_kwargs = {name: _widened(value) for name, value in kwargs.items()}
    wide = dict(zip(narrow, wide_args, strict=False)) | wide_kwargs
    result = op(*wide_args, **wide_kwargs)
    same: dict[int, Tensor] = {}  # what came back is what went in
    for name in written & set(narrow):
        if isinstance(narrow[name], Tensor):
            narrow[name].copy_(wide[name])
            same[id(wide[name])] = narrow[name]
    return _narrowed(result, _dtypes_of(list(narrow.values()))[0], same)


def _dtypes_of(value: Any) -> list[torch.dtype]:
    """The half precisions among tensors, those in lists included."""
    if isinstance(value, list | tuple):
        return [dtype for inner in value for dtype in _dtypes_of(inner)]
    return [value.dtype] if isinstance(value, Tensor) and value.dtype in HALF else []


def _widened(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_widened(inner) for inner in value]
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value


def _narrowed(value: Any, dtype: torch.dtype, same: dict[int, Tensor]) -> Any:
    if isinstance(value, list | tuple):
        return [_narrowed(inner, dtype, same) for inner in value]
    if not isinstance(value, Tensor):
        return value
    if id(value) in same:
        return same[id(value)]
    return value.to(dtype) if value.dtype == torch.float32 else value
