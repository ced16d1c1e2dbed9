"""Every kernel that torch registers for CUDA, replaced by one that computes on the CPU.

One that is left out is launched for real, and the runtime answers with an error: nothing is
silently wrong.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from .attention import FUSED
from .copies import copy
from .generators import default_drawn_by_card, drawn_by
from .half import compute
from .memory import HostViews
from .rules import DeviceRule, Named, count_waits

# Those that only look at a tensor, or ask torch's own allocator or runtime: they need no card.
OWN = (
    "view", "as_strided", "_reshape_alias", "unfold", "view_as_real", "view_as_complex", "set_",
    "set_.source_Storage", "set_.source_Storage_storage_offset", "set_.source_Tensor", "resize_",
    "empty.memory_format", "empty_strided", "is_set_to", "record_stream", "is_pinned",
    "_pin_memory", "_efficientzerotensor", "_local_scalar_dense", "_cudnn_init_dropout_state",
    "_cslt_compress", "_fused_sdp_choice",
)  # fmt: skip  # a list of names
# For CUDA torch composes these of kernels that no CPU has; a CPU does them in one.
COMPOSED = ("copy_", "convolution")
SPECIAL: dict[str, Callable[..., Any]] = {"copy_": copy, **FUSED}

calls: Counter[str] = Counter()  # how often, by kernel with its overload
_registered = torch.library.Library("aten", "IMPL")  # a kernel lives as long as this


class Kernel:
    """One kernel: the CPU's, behind the checks and the memory of a card."""

    def __init__(self, op: Any, name: str):
        schema = op._schema
        self.op, self.name = op, name
        self.arguments = [argument.name for argument in schema.arguments]
        self.written = frozenset(a.name for a in schema.arguments if _writes(a))
        self.results_written = [_writes(result) for result in schema.returns]
        self.rule = DeviceRule.of(name, self.written)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self._tensors(args, kwargs)
        self.rule.check(given)
        count_waits(self.name, given, kwargs.get("output_size"))
        views = HostViews()
        named = {name: views.down(value) for name, value in kwargs.items()}
        if named.get("pin_memory"):
            named["pin_memory"] = False
        result = self._compute([views.down(value) for value in args], named)
        views.follow_resized()
        return views.up(result, self.results_written)

    def _tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Named:
        given: Named = []
        for name, value in [*zip(self.arguments, args, strict=False), *kwargs.items()]:
            values = value if isinstance(value, list | tuple) else [value]
            given += [(name, inner) for inner in values if isinstance(inner, Tensor)]
        return given

    def _compute(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """On the CPU, with the card's random numbers."""
        if "generator" not in self.arguments:
            drops = self.name.partition(".")[0] == "native_dropout"
            with default_drawn_by_card() if drops else nullcontext():
                return compute(self.op, self.written, args, kwargs)
        place = self.arguments.index("generator")
        own = args[place] if place < len(args) else kwargs.get("generator")
        with drawn_by(own) as generator:
            if place < len(args):
                args[place] = generator
            else:
                kwargs["generator"] = generator
            return compute(self.op, self.written, args, kwargs)


def _entry(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """What torch calls: a kernel that is counted, and lets go of everything when memory is out."""

    def called(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        try:
            return kernel(*args, **kwargs)
        except torch.OutOfMemoryError as error:
            # As out of C++: a traceback with our frames in it would keep their tensors alive.
            del args, kwargs
            raise error.with_traceback(None) from None

    return called


def _writes(argument: Any) -> bool:
    return bool(argument.alias_info and argument.alias_info.is_write)


def insert() -> int:
    """Put the card in: replace the kernels. Returns how many."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")
    names = [name.removeprefix("aten::") for name in registered if name.startswith("aten::")]
    inserted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is there already
        for name in [*names, *COMPOSED]:
            base, _, overload = name.partition(".")
            packet = getattr(torch.ops.aten, base, None)
            op = getattr(packet, overload or "default", None)
            if op is None or name in OWN:
                continue
            kernel = _entry(name, SPECIAL.get(name) or Kernel(op, name))
            _registered.impl(name, kernel, "CUDA", allow_override=True)
            inserted += 1
    return inserted
