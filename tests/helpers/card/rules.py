"""Which tensors a CUDA kernel takes from the CPU: none, but for numbers and indices at times.

native_functions.yaml, which torch brings along, says by kernel whether devices are checked, or why
not; what is refused is refused in CUDA's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torchgen
from torch import Tensor

from .library import card
from .memory import host_view

Named = list[tuple[str, Tensor]]  # arguments, those in lists one by one
INDEXING = ("index", "_index_put_impl_")
_NEVER = ("lerp", "gather", "scatter", "index_")  # exempt, and check by themselves
_SEVERAL = ("where", "addcmul", "addcdiv", "addcmul_", "addcdiv_")  # more than one number
_WAITS = (  # each has to know how much it made, or what
    "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive",
    "equal", "bincount",
)  # fmt: skip  # a list of names


@cache
def exemptions() -> dict[str, str]:
    """By kernel with its overload: why its devices are not checked, in the file's words."""
    file = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    found = {}
    for block in re.split(r"^- func: ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        check = re.search(r"device_check: NoCheck(.*)", block)
        if check:
            found[block[: block.index("(")]] = check[1]
    return found


@dataclass(frozen=True)
class DeviceRule:
    """Of one kernel: how many numbers (0-dim tensors) it takes from the CPU; -1 as many as come."""

    name: str
    numbers: int
    written: frozenset[str]  # arguments, which never may lie on the CPU

    @classmethod
    def of(cls, name: str, written: frozenset[str]) -> DeviceRule:
        base, why = name.partition(".")[0], exemptions().get(name)
        if why is None or (base.startswith(_NEVER) and not base.startswith("index_put")):
            return cls(name, 0, written)
        one = "Iterator" in why and base not in _SEVERAL
        return cls(name, 1 if one else -1, written)

    def check(self, given: Named) -> None:
        """Refuse what CUDA refuses."""
        if not any(tensor.is_cuda for _, tensor in given):
            return
        if self.name.partition(".")[0] in INDEXING:
            self._check_indices(given)
            return
        left = self.numbers
        for name, tensor in given:
            if tensor.is_cuda:
                continue
            number = tensor.dim() == 0 and name not in self.written
            if not number or not (left or tensor._is_zerotensor()):
                raise mismatch(self.name, name, tensor.device)
            left -= left > 0

    def _check_indices(self, given: Named) -> None:
        """Indices may lie on the CPU: they are copied, and waited for."""
        own = given[0][1]
        for name, tensor in given[1:]:
            if tensor.is_cuda and not own.is_cuda:
                raise RuntimeError(
                    f"indices should be either on {own.device} or on the same device as the"
                    f" indexed tensor ({own.device})"
                )
            if not own.is_cuda or tensor.is_cuda:
                continue
            if name != "values":
                card().copied(host_view(own).data_ptr(), tensor.data_ptr(), tensor.nbytes, True)
            elif tensor.dim():
                raise mismatch(self.name, name, tensor.device)


def mismatch(kernel: str, argument: str, found: torch.device) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but got {argument} is on {found},"
        f" different from other tensors on cuda:0 (when checking argument in method"
        f" wrapper_CUDA_{kernel})"
    )


def count_waits(name: str, given: Named, output_size: object) -> None:
    """Count that the host waits, where the kernel has to know what the device computed."""
    base = name.partition(".")[0]
    if base in _WAITS or (base == "repeat_interleave" and output_size is None):
        card().waited(base)
    if base in INDEXING:
        for _, tensor in given[1:]:
            if tensor.is_cuda and tensor.dtype in (torch.bool, torch.uint8):
                card().waited("index by truth values")
    if name == "masked_fill_.Tensor" and given[2][1].is_cuda:
        card().waited("masked_fill_ with a tensor's value")
