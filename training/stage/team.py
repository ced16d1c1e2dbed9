"""The processes that train one job together: one, unless a launcher has started more.

``accelerate launch`` and ``torchrun`` say by environment variables (RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR, MASTER_PORT) who a process is. Each takes its share of a step's batch; gradients are
added up, so that every process makes the same update and keeps the same parameters. The first one
alone writes: events, checkpoints, adapters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ...common.errors import UserError
from ...common.system import WINDOWS

_BUCKET = 2**24  # numbers that are sent at once: few messages, and little memory for a copy


class Team:
    """This process (``rank``) among ``size``."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        self._flat: Tensor | None = None  # where gradients are added up

    @classmethod
    def join(cls, device: torch.device) -> Team:
        """Meet the other processes that the launcher has started, if there are any."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not dist.is_available():
            raise UserError(
                "torch", "no support for several processes in it", "a build that has it",
                "Train with one process, without a launcher.",
            )  # fmt: skip  # file, found, expected, next move
        if not dist.is_initialized():
            os.environ.update(meeting_place(WINDOWS, os.environ))
            dist.init_process_group(backend(device.type, dist.is_nccl_available()))
        return cls(dist.get_rank(), size)

    def leave(self) -> None:
        """Part from the others, who are done as well."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process reads the artist's wishes and writes what is made."""
        return self.rank == 0

    def own_card(self, device: torch.device) -> torch.device:
        """The device of this process: of several cards its own."""
        if self.size == 1 or device.type != "cuda":
            return device
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
        return own

    def share(self, step: int, batch: int) -> range:
        """Numbers of this process's samples in a step. ``batch``: samples of one process."""
        first = (step * self.size + self.rank) * batch
        return range(first, first + batch)

    def make_room(self, parameters: Iterable[nn.Parameter]) -> None:
        """Allocate what ``add_gradients`` takes: one that lacks it there lets all others wait."""
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # what no sample here has touched, one there may have
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self._flat is None:
            most = max(sum(gradient.numel() for gradient in b) for b in _buckets(gradients))
            self._flat = gradients[0].new_empty(most)

    def park(self) -> None:
        """Let go of that room, which the next step makes anew."""
        self._flat = None

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Leave in every process the sum of all processes' gradients."""
        if self.size == 1:
            return
        assert self._flat is not None
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for bucket in _buckets(gradients):
            sizes = [gradient.numel() for gradient in bucket]
            flat = self._flat[: sum(sizes)]
            torch.cat([gradient.flatten() for gradient in bucket], out=flat)
            dist.all_reduce(flat)
            for gradient, part in zip(bucket, flat.split(sizes), strict=True):
                gradient.copy_(part.view_as(gradient))

    def place(self, losses: Tensor) -> Tensor:
        """This process's losses (n,) at its place among those of all: (size * n,)."""
        if self.size == 1:
            return losses
        whole = losses.new_zeros(self.size, len(losses))
        whole[self.rank] = losses
        return whole.flatten()

    def gather(self, placed: Tensor) -> None:
        """Fill in the losses of the others."""
        if self.size > 1:
            # A sum in which every place has one term is the term itself, on every back end.
            dist.all_reduce(placed)

    def agree(self, value: Any) -> Any:
        """What the first process says, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all(self, truth: bool) -> bool:
        """Whether it holds in every process."""
        if self.size == 1:
            return truth
        held = torch.tensor([int(truth)])
        dist.all_reduce(held, dist.ReduceOp.MIN)
        return bool(held)


def backend(device: str, nccl: bool) -> str:
    """How processes speak, by the type of their device and whether torch has NCCL.

    torch for Windows has none. Gloo takes tensors on cards, too, and adds up the same.
    """
    return "cpu:gloo,cuda:nccl" if device == "cuda" and nccl else "gloo"


def meeting_place(windows: bool, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables by which processes find each other, beside the launcher's.

    torch for Windows is built without libuv, but older versions ask for it unless they are told.
    """
    return {"USE_LIBUV": "0"} if windows and "USE_LIBUV" not in environment else {}


def _buckets(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Neighbours together, up to ``_BUCKET`` numbers each."""
    buckets: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        if tensor.numel() > room:
            buckets.append([])
            room = max(_BUCKET, tensor.numel())
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
