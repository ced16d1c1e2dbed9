"""What layers of a MODEL give while it samples, with all that its nodes do to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from helpers.host import world
from still_moving.adapters.host.hooks import add_scoped_hooks, hook_layers
from still_moving.adapters.host.motion_module import motion_patcher


@contextmanager
def recording(model: Any) -> Iterator[list[Tensor]]:
    """Queries, keys and values of the first temporal attention in every call, side by side.

    Each is (clips * pixels, frames, channels).
    """
    patcher = motion_patcher(model)
    assert patcher is not None
    first: Any = next(iter(patcher.model.transformers().values())).transformer_blocks[0]
    attention, asked = first.attention_blocks[0], []
    attend = attention.attend

    def record(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        asked.append(torch.cat([q, k, v], -1).clone())
        return attend(q, k, v, heads)

    attention.attend = record
    try:
        yield asked
    finally:
        attention.attend = attend


def asked(model: Any, frames: int = world.FRAMES, **options: Any) -> list[Tensor]:
    """The same of one step of sampling: a call, or one in each window."""
    with recording(model) as queries:
        world.sample(model, frames, **({"steps": 1} | options))
    return queries


def given(model: Any, layer: str, frames: int = world.FRAMES, **options: Any) -> Tensor:
    """What a layer of the UNet gives in the first call, as the layers behind it see it."""
    seen: list[Tensor] = []
    recorded = model.clone()

    def record(_layer: Any, _inputs: Any, output: Tensor) -> Tensor:
        seen.append(output.clone())
        return output

    # Its hooks come after those of every node before it.
    add_scoped_hooks(
        recorded, "recorder", lambda call: hook_layers(call.base.diffusion_model, {layer: record})
    )
    world.sample(recorded, frames, **({"steps": 1} | options))
    return seen[0]
