"""What every part that lives in ComfyUI's MODEL shares: its UNet, frames, and hooks for one call.

Nothing here changes a class or a module for longer than one forward pass. A wrapper around
apply_model registers ordinary forward hooks, and removes them when the call is over, so clones,
garbage collection and other packs never meet them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ...common.errors import UserError
from ..files.checkpoint import BASES, CHANNELS_IN, fingerprint, relative_of
from ..files.keys import UNetLayout
from .calls import Call, call_of
from .graphs import refuse_captured, refuse_compiled_in_place, see_hooks

UNET = "diffusion_model."  # the UNet's prefix in a MODEL's keys
CHECKPOINT = "still_moving.checkpoint"  # attachment: fingerprint of what was injected, or None

Register = Callable[[Call], list[Any]]  # returns handles of the hooks it made


def layout_of(model: ModelPatcher) -> tuple[UNetLayout, str]:
    """(layout, "sd15" or a world's name) of a MODEL's UNet; raises UserError for another."""
    refuse_compiled_in_place(model)
    shapes = unet_shapes_of(model)
    first = shapes.get("input_blocks.0.0.weight")
    texts = [shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    name, context = None, texts[0][-1] if texts else 0
    if first is not None and len(first) == 4:
        name = relative_of(first[1], context, "model")
        if name is None and (first[0], context) in BASES:
            base, layout, _ = BASES[first[0], context]
            return layout, base
    unet = type(model.get_model_object("diffusion_model")).__name__
    raise UserError(
        "model",
        name or f"a {type(model.model).__name__} model ({unet})",
        f"an SD1.5 model with {CHANNELS_IN} input channels (or one made from it)",
        "Motion modules and adapters here are for SD1.5: load an SD1.5 checkpoint.",
    )


def unet_shapes_of(model: ModelPatcher) -> dict[str, torch.Size]:
    """Shapes of the UNet's weights by LDM name, without patches, also while those are loaded."""
    unet, shapes = model.get_model_object("diffusion_model"), {}
    for name, weight in unet.named_parameters():
        backup = model.backup.get(f"{UNET}{name}")
        shapes[name] = (weight if backup is None else backup.weight).shape
    return shapes


def add_scoped_hooks(model: ModelPatcher, key: str, register: Register) -> None:
    """Have `register` attach forward hooks for each call of the UNet, and take them off after.

    A key has one registrar: adding another replaces it. Which patcher runs is asked anew in each
    call (`call.base.current_patcher`), because ComfyUI samples with clones of the one given here.
    """

    def wrapper(executor, x, t, *rest, **named):
        # (c_concat, c_crossattn, control, transformer_options), by place or by name.
        options = rest[3] if len(rest) > 3 else named.get("transformer_options", {})
        base = executor.class_obj
        with removing(register(call_of(base, x, t, options))) as handles:
            if not handles:
                return executor(x, t, *rest, **named)
            see_hooks()
            refuse_captured(base)
            result = executor(x, t, *rest, **named)
            refuse_captured(base)
            return result

    model.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, key)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, wrapper)


@contextmanager
def removing(handles: list[Any]) -> Iterator[list[Any]]:
    """Remove hooks at the end, whatever happens."""
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def hook_layers(root: nn.Module, hooks: dict[str, Callable[..., Tensor]]) -> list[Any]:
    """Register a forward hook on each of the layers of these names; returns the handles."""
    return [submodule(root, name).register_forward_hook(hook) for name, hook in hooks.items()]


def submodule(root: nn.Module, name: str) -> nn.Module:
    """A layer of the UNet by its LDM name."""
    return comfy.utils.get_attr(root, name)


def fingerprint_of(model: ModelPatcher) -> str | None:
    """Which checkpoint a MODEL is; None where that cannot be told (a mixture, rounded weights)."""
    if CHECKPOINT in model.attachments:
        return model.attachments[CHECKPOINT]
    base: Any = model.model
    if base.get_dtype() not in (torch.float16, torch.float32):
        return None
    return fingerprint(unpatched_unet(model))


def unused_key(model: ModelPatcher, key: str) -> str:
    """A key of its own for each adapter of a kind, so that several can be applied in a row."""
    used = model.wrappers.get(WrappersMP.APPLY_MODEL, {})
    return next(name for i in range(len(used) + 1) if (name := f"{key}.{i}") not in used)


def unpatched_unet(model: ModelPatcher) -> dict[str, Tensor]:
    """The UNet's tensors in LDM naming as its file has them, also while patched ones are loaded."""
    tensors = {}
    for name, tensor in model.model.state_dict().items():
        if name.startswith(UNET):
            backup = model.backup.get(name)
            tensors[name.removeprefix(UNET)] = tensor if backup is None else backup.weight
    return tensors


def rounded(model: ModelPatcher, name: str) -> list[str]:
    """A warning where what `name` puts into a MODEL's weights is rounded to them."""
    if not is_quantized(model):
        return []
    return [
        f"{name} goes into weights that are stored in 8 bits or fewer, and is rounded as coarsely"
        " as they are. For its full effect load the model in fp16 or bf16."
    ]


def is_quantized(model: ModelPatcher) -> bool:
    """Whether merging would round: weights of 8 bits or fewer, or of a quantized layout."""
    weight = model.get_model_object("diffusion_model.input_blocks.1.0.in_layers.2.weight")
    return weight.dtype.itemsize < 2 or type(weight).__name__ == "QuantizedTensor"
