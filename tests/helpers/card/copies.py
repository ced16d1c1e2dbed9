"""``copy_``, through which every copy between the two memories goes."""

from __future__ import annotations

from torch import Tensor

from .library import card
from .memory import host_view

_ANYWHERE = 0  # an address in pageable memory


def copy(to: Tensor, origin: Tensor, non_blocking: bool = False) -> Tensor:
    """``to.copy_(origin)``, counted as the copy that a card would make."""
    target = host_view(to) if to.is_cuda else to
    source = host_view(origin) if origin.is_cuda else origin
    if not target.numel():
        return to
    target.copy_(source)
    straight = _straight(to, origin)
    card().copied(
        target.data_ptr() if straight or to.is_cuda else _ANYWHERE,
        source.data_ptr() if straight or origin.is_cuda else _ANYWHERE,
        (to if to.is_cuda else origin).nbytes,
        not non_blocking and not (to.is_cuda and origin.is_cuda),
    )
    return to


def _straight(to: Tensor, origin: Tensor) -> bool:
    """Whether the bytes go as they are. Else torch makes the host's end new, in pageable memory."""
    if to.dtype != origin.dtype:
        return False
    contiguous = to.is_contiguous() and origin.is_contiguous()
    return contiguous or (to.stride() == origin.stride() and _dense(to))


def _dense(tensor: Tensor) -> bool:
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return sum((size - 1) * stride for size, stride in pairs) + 1 == tensor.numel()
