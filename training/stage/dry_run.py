"""What a step takes of memory: a step on tensors that have sizes and no numbers.

Counted where torch counts, at every tensor that is made and freed, so that nothing has to be
measured on a card and kept true by hand. Scratch space inside of kernels is not seen.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..checks.device import free_memory
from ..network.tiers import TIERS, MemoryTiers, choose_tier
from .network import StageNetwork

_BLOCK = {"cuda": 512, "cpu": 64}  # bytes that an allocator rounds up to


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors on a device that were made since it was entered, now and at most."""

    def __init__(self, device: torch.device, held: Iterable[Tensor]):
        super().__init__()
        self.device, self.now, self.peak = device.type, 0, 0
        self._block = _BLOCK.get(device.type, 1)
        self._held = list(held)  # or they would be made anew, and counted
        self._known: dict[int, Any] = {t.untyped_storage()._cdata: None for t in self._held}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                self._see(tensor)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._known:
            return
        size = math.ceil(storage.nbytes() / self._block) * self._block

        def freed(_reference: Any) -> None:
            del self._known[place]
            self.now -= size

        self._known[place] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


def step_peak(network: StageNetwork, tiers: MemoryTiers, tier: str) -> int:
    """Bytes that a step's gradients take at their peak, above what is held between two steps.

    Of the largest item. Gradients are counted, weights and AdamW's state are not. Attention is
    counted as torch would do it on the device: fused, it keeps no scores. Nothing is trained.
    """
    # Private to torch: where it has moved, steps are tried instead of told.
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    modules = [network.unet, *network.trainable.beside]
    held = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    before = tiers.tier
    tiers.set(tier)
    try:
        with fake, LiveBytes(network.device, map(fake.from_tensor, held)) as live:
            for _ in range(min(network.recipe.batch, 2)):  # from the second on, gradients are there
                _backward(network)
    finally:
        tiers.set(before)
        for parameter in network.trainable.parameters.values():
            parameter.grad = None
    return live.peak


def _backward(network: StageNetwork) -> None:
    """Gradients of a sample of the largest item, in the view that takes most."""
    items = [item for items in network.items for item in items]
    largest = max(items, key=lambda item: math.prod(item.latents.shape[-2:]))
    sources = network.stage.sources
    source = next((s for s in sources if s.view != "frame"), sources[0])
    frames = 1 if source.view == "frame" else network.recipe.frames
    size = (1, largest.latents.shape[1], frames, *largest.latents.shape[2:])
    own = {"device": network.device, "dtype": network.dtype}
    trains_words = network.trainable.words is not None
    longest = max((item.text for item in items), key=len)
    text = torch.zeros(1, *longest.shape, **own, requires_grad=trains_words)
    timestep = torch.zeros(1, dtype=torch.long, device=network.device)
    noise = torch.zeros(size, device=network.device)
    network.loss_of(source, torch.zeros(size, **own), timestep, text, noise).backward()


def auto_tier(network: StageNetwork, tiers: MemoryTiers) -> str:
    """The fastest tier whose steps fit into what is free now."""
    try:
        return choose_tier(partial(step_peak, network, tiers), free_memory(network.device))
    except Exception as error:  # fake tensors are torch's own affair, and change with it
        print(f"No dry run, so the memory tier is found by trying: {error}", file=sys.stderr)
        return TIERS[0]
