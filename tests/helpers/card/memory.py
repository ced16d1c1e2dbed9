"""The same memory seen from both sides: a card's tensor as a CPU's, and a CPU's put on the card."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
_ANY_MEMORY = ctypes.c_char * (1 << 46)


def host_view(tensor: Tensor) -> Tensor:
    """A card's tensor as a CPU tensor over the same bytes."""
    storage = tensor.untyped_storage()
    count = storage.nbytes() // tensor.element_size()
    if not count or not tensor.numel():
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
    memory = _ANY_MEMORY.from_address(storage.data_ptr())
    flat = torch.frombuffer(memory, dtype=tensor.dtype, count=count)
    host = flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
    return host.conj() if tensor.is_conj() else host


def on_card(tensor: Tensor) -> Tensor:
    """What a CPU tensor holds, in new memory of torch's CUDA allocator. Raises OutOfMemoryError."""
    if tensor.numel() and torch._debug_has_internal_overlap(tensor) != 0:
        tensor = tensor.contiguous()  # expanded: one place would be written twice
    new = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=CUDA)
    if tensor.numel():
        host_view(new).copy_(tensor)
    return new


class HostViews:
    """The host's views of one kernel's tensors, and the way back from them."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}  # by the view: the card's, the view

    def down(self, value: Any) -> Any:
        """An argument as the CPU's kernel takes it."""
        if isinstance(value, Tensor):
            if not value.is_cuda:
                return value
            host = host_view(value)
            self._pairs[id(host)] = (value, host)
            return host
        if isinstance(value, list | tuple):
            return [self.down(inner) for inner in value]
        return CPU if isinstance(value, torch.device) else value

    def follow_resized(self) -> None:
        """Give the card's tensors the sizes that ``out=`` got from the CPU's kernel."""
        for tensor, host in self._pairs.values():
            if host.shape != tensor.shape:
                tensor.resize_(host.shape)
                host_view(tensor).copy_(host)

    def up(self, result: Any, written: list[bool]) -> Any:
        """A kernel's result on the card. written: which results are arguments that it wrote to."""
        if isinstance(result, Tensor):
            return self._tensor_up(result, bool(written and written[0]))
        if isinstance(result, list | tuple):
            flags = [*written, *[False] * len(result)]
            return type(result)(
                self.up(inner, [flag]) for inner, flag in zip(result, flags, strict=False)
            )
        return result

    def _tensor_up(self, result: Tensor, written: bool) -> Tensor:
        if id(result) in self._pairs:
            return self._pairs[id(result)][0]
        if written:  # an argument, come back as another object
            for tensor, host in self._pairs.values():
                if host.data_ptr() == result.data_ptr():
                    return tensor
        return on_card(result) if result.device.type == "cpu" else result
