"""A customized checkpoint's image layers in a MODEL, whole or in part.

At amount 1 this is the naive injection that Still-Moving starts from (arXiv:2407.08674, sec. 1);
between 0 and 1 the interpolation that it compares with.
"""

from __future__ import annotations

from pathlib import Path

from comfy.model_patcher import ModelPatcher

from ...common.errors import UserError
from ..files.checkpoint import fingerprint, read_unet
from . import hooks
from .fit import fit_layers, refuse_misfit
from .graphs import watch_patches
from .replacement import replace_weights


def inject_checkpoint(model: ModelPatcher, path: Path | str, amount: float) -> ModelPatcher:
    """A clone of a MODEL with weights (1 - amount) * its own + amount * the checkpoint's.

    LoRAs on the MODEL stay whole, wherever their loader stands. Raises UserError for a checkpoint
    of another family, and for a MODEL whose layers are not those of the checkpoint.
    """
    injected = model.clone()
    if amount == 0:
        return injected
    weights = read_unet(path)
    _, base = hooks.layout_of(model)
    if weights.base != base:
        raise UserError(
            path,
            f"a checkpoint of {weights.base}",
            f"one of {base}, as the connected model is",
            "Choose a checkpoint of the same family.",
        )
    # ComfyUI would leave such a layer out with a line in the console, but still fade its own.
    refuse_misfit(
        fit_layers({n: t.shape for n, t in weights.tensors.items()}, hooks.unet_shapes_of(model)),
        path,
        f"the layers of the connected model ({weights.base})",
        "Connect a whole SD1.5 model: one with other layers cannot take a checkpoint's.",
    )
    tensors = {f"{hooks.UNET}{name}": tensor for name, tensor in weights.tensors.items()}
    replace_weights(injected, tensors, amount)
    watch_patches(injected)
    # Patches do not show in the weights: say which checkpoint this is now, or that it is a mixture.
    injected.set_attachments(
        hooks.CHECKPOINT, fingerprint(weights.tensors) if amount == 1 else None
    )
    return injected
