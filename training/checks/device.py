"""The device of a job, the number format on it, and the memory that it has.

Torch alone, because ComfyUI's process says what the worker will choose.
"""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from ...common.errors import UserError
from ..recipes.recipe import Dtype


def pick_device(wanted: str) -> torch.device:
    """The device of a job. Raises UserError for a card that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device", "no CUDA card", "one", "Choose auto or cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


# fp16 gives wrong numbers on these cards of compute capability 7.5; ComfyUI computes in fp32 there.
NO_FLOAT16 = (
    "1660", "1650", "1630", "T500", "T550", "T600", "MX550", "MX450", "CMP 30HX", "T2000", "T1000",
    "T1200",
)  # fmt: skip  # a list of names


def pick_dtype(wanted: Dtype, device: torch.device) -> torch.dtype:
    """Number format of the frozen weights: as ``card_dtype`` says on CUDA, fp32 on the CPU."""
    if wanted != "auto":
        return getattr(torch, wanted)
    if device.type != "cuda":
        return torch.float32
    if torch.version.hip is not None:
        return torch.bfloat16
    name = torch.cuda.get_device_name(device)
    return card_dtype(torch.cuda.get_device_capability(device), name)


def card_dtype(capability: tuple[int, int], name: str) -> torch.dtype:
    """For an NVIDIA card: bf16 from Ampere on (8.0), before it fp16, or fp32 where that is broken.

    ``torch.cuda.is_bf16_supported()`` says yes to older ones, too, which do it by emulation, and
    how to ask for the others alone differs from version to version.
    """
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float32 if any(part in name for part in NO_FLOAT16) else torch.float16


def free_memory(device: torch.device) -> int:
    """Bytes that a job may take on the device now, what its allocator keeps for it included."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    import psutil

    return psutil.virtual_memory().available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking: torch says so in several ways, not all of them its own error."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Loading a kernel on a full card, cuBLAS on one, and ordinary memory.
    signs = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def give_back(device: torch.device) -> None:
    """Return to the device what nothing holds any more.

    Not while an error is handled: its traceback holds what the failed step had made.
    """
    gc.collect()  # a failed backward pass leaves circles
    if device.type == "cuda":
        torch.cuda.empty_cache()


def used_memory(device: torch.device) -> int:
    """Bytes this process holds: the peak on the card, the resident set on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A copy on the device for which the host does not wait."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device, dtype)
    # From ordinary memory the copy would wait for its turn among what the card has to do.
    return tensor.pin_memory().to(device, non_blocking=True).to(dtype or tensor.dtype)
