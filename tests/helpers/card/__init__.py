"""The pretended card: torch's own CUDA half on the host's memory, for machines without a card.

    subprocess.run(command, env={**os.environ, **card.environment(gib=4)})   # a child on it
    STILL_MOVING_CARD=1 python -m pytest tests/card/test_laws.py             # tests on it

In a process that has it, and in what that process starts with ``environment()`` or
``helpers.small.environment``, ``torch.cuda`` works: dispatch, autograd's device thread, the
caching allocator, streams, events, pinned memory, autocast and OutOfMemoryError are torch's own.
The runtime and the driver below them (source/, built by gcc) and the kernels above them
(kernels.py) pretend: a kernel refuses tensors on other devices as CUDA's does, and computes on the
CPU. So does ComfyUI's DynamicVRAM, whose allocator is comfy-aimdo's own. A kernel that is missing
fails loudly. Copies and waits are counted; time, races, the rounding of half-precision kernels,
workspaces of cuBLAS and cuDNN, and torch.compile are not there to be tried.

- ``why_not()``: why this machine cannot have it; empty where it can.
- ``environment(...)``: the variables that put a child process on it.
- ``put_in()``: puts it into this process, if its variables ask; before torch is imported.
- ``inside()``: whether this process has it; ``inherited()``: the variables of such a process.
- ``watch()``: what was copied and who waited within ``with``.
- ``limit(...)``, ``crowded(...)``: less memory within ``with``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import library
from .build import why_not

if TYPE_CHECKING:
    from .bus import Watch

SWITCH, GIB, CAPABILITY = (f"STILL_MOVING_CARD{end}" for end in ("", "_GIB", "_CAPABILITY"))
_SITE = Path(__file__).parent / "site"

__all__ = [
    "crowded", "environment", "inherited", "inside", "limit", "put_in", "watch", "why_not",
]  # fmt: skip  # a list of names


def environment(gib: float = 8, capability: str = "8.6") -> dict[str, str]:
    """To add to a child's variables. gib: the card's memory; capability: 7.5 is Turing, 8.6 Ampere.

    PYTHONPATH replaces the child's own one, if it has one.
    """
    chosen = {SWITCH: "1", GIB: str(gib), CAPABILITY: capability}
    return {**chosen, "PYTHONPATH": str(_SITE)}


def inherited() -> dict[str, str]:
    """What puts a child on the card of this process; nothing where it has none."""
    if not inside():
        return {}
    return environment(*_chosen())


def _chosen() -> tuple[float, str]:
    """(GiB, capability) by this process's variables."""
    return float(os.environ.get(GIB, "8")), os.environ.get(CAPABILITY, "8.6")


def inside() -> bool:
    """Whether this process has the card."""
    return library.loaded()


def put_in() -> None:
    """Put the card into this process if its variables ask for it; torch follows when it comes."""
    if os.environ.get(SWITCH) != "1" or inside():
        return
    if reason := why_not():
        raise RuntimeError(f"{SWITCH}=1, but the pretended card cannot be had: {reason}")
    from .torch_import import TorchWithCard

    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(_SITE) not in paths:  # for children that get this process's variables as they are
        os.environ["PYTHONPATH"] = os.pathsep.join([str(_SITE), *filter(None, paths)])
    library.load(*_chosen())
    sys.meta_path.insert(0, TorchWithCard())


def watch() -> Watch:
    """``with watch() as seen:`` counts copies and waits until its end; see ``bus.Watch``."""
    from .bus import Watch

    return Watch()


@contextmanager
def limit(nbytes: int) -> Iterator[None]:
    """The card's memory within ``with``. What is allocated stays, whatever the limit."""
    counters = library.card().counters
    before, counters.limit = counters.limit, nbytes
    try:
        yield
    finally:
        counters.limit = before


@contextmanager
def crowded(free: int = 0) -> Iterator[None]:
    """Within ``with`` another program holds all but these bytes, torch's own spare memory too."""
    import torch

    torch.cuda.empty_cache()
    counters, held = library.card().counters, []
    with limit(counters.used):
        for size in (2**20, 2**14, 2**9):  # what is left over inside of torch's blocks
            try:
                while True:
                    held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            except torch.OutOfMemoryError:
                pass
    with limit(counters.used + free):
        yield
    held.clear()
