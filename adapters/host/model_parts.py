"""What other nodes and packs have put on a MODEL, and what its file says of it.

Asked where it is connected. What a MODEL samples with is more than its weights. Sampling here
keeps all of it; training reads the weights alone, and says which parts it does not see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_sampling
import torch
from comfy.model_patcher import ModelPatcher

from ...common.errors import UserError
from ..files.prediction import Prediction, stated_prediction
from ..files.tensors import read_header
from .companions import OURS
from .noise_schedule import BETAS, Schedule, sampling_of

# Parts of ``model_options`` that change what the network computes, by what to call them.
OPTIONS = {
    "model_function_wrapper": "a wrapper around the network",
    "patches": "patches of attention or blocks",
    "patches_replace": "attention that is replaced",
    "block_modifiers": "modifiers of blocks",
}
_SAMPLING = ("model_sampling", "latent_format")  # object patches that are no layers


def not_in_weights(model: ModelPatcher) -> list[str]:
    """A note on what acts while a MODEL samples and is no part of its weights."""
    parts = parts_beyond_weights(model)
    if not parts:
        return []
    return [
        f"Training reads the model's weights alone, without {', '.join(parts)}: connect the model"
        " from before them, or expect to see their effect untrained."
    ]


def parts_beyond_weights(model: ModelPatcher) -> list[str]:
    """What acts while a MODEL samples and is no part of its weights, by what to call it."""
    options: Any = model.model_options
    inside = {**options, **options.get("transformer_options", {})}
    parts = [name for key, name in OPTIONS.items() if inside.get(key)]
    now = sampling_of(model)
    if now is not None and now.zero_snr and now.predicts == "epsilon":
        parts.append("its zero terminal SNR, from which no epsilon can be learned")
    if model.hook_patches or model.forced_hooks:
        parts.append("LoRA hooks")
    layers = [name for name in model.object_patches if name not in _SAMPLING]
    if layers:
        parts.append(f"{len(layers)} exchanged layers ({layers[0]})")
    keys = {key for wrappers in model.wrappers.values() for key, own in wrappers.items() if own}
    # Compiling changes nothing of what is computed.
    others = sorted(str(k) for k in keys if not str(k).startswith((OURS, "torch.compile")))
    if others:
        parts.append(f"wrappers ({', '.join(others[:3])})")
    if model.injections:
        parts.append(f"injected layers ({', '.join(sorted(map(str, model.injections))[:3])})")
    return parts


def refuse_unstated_v(model: ModelPatcher) -> None:
    """Raise UserError for a checkpoint that predicts v by its file, and is sampled as epsilon."""
    for found in unstated_v(model):
        raise UserError(
            "model", found, "a model that samples what its checkpoint predicts",
            "Put ModelSamplingDiscrete (v_prediction) after its loader.",
        )  # fmt: skip  # file, found, expected, next move


def unstated_v(model: ModelPatcher) -> list[str]:
    """What is wrong where a MODEL's file says that it predicts v and the MODEL does not know it.

    ComfyUI reads that of SDXL's checkpoints, not of SD1.5's.
    """
    rebuild: Any = getattr(model, "cached_patcher_init", None)  # ComfyUI 0.3.64 keeps none
    file = rebuild[1][0] if rebuild and rebuild[1] else None
    now, stated = sampling_of(model), _stated(file)
    if now is None or now.predicts != "epsilon" or stated is None or stated.kind == "epsilon":
        return []
    return [f"a checkpoint that says it predicts {stated}, sampled as epsilon"]


def injection_notes(model: ModelPatcher, path: Path) -> list[str]:
    """A warning where a checkpoint that is injected predicts something else than the MODEL does."""
    now, stated = sampling_of(model), _stated(path)
    if now is None or stated is None or now.predicts == stated.kind:
        return []
    return [
        f"{path.name} says that it predicts {stated}, the connected model {now.predicts}: have"
        " ModelSamplingDiscrete say what the checkpoint predicts, where it is injected whole."
    ]


def sampling_notes(model: ModelPatcher, schedule: Schedule) -> list[str]:
    """What to say of how a MODEL samples, before a motion module's schedule is put on it."""
    notes = [
        f"The model is {found}: put ModelSamplingDiscrete (v_prediction) after its loader."
        for found in unstated_v(model)
    ]
    sampling: Any = model.get_model_object("model_sampling")
    if schedule != "model's own" and sampling_of(model) is not None and _own_table(model, sampling):
        notes.append(
            f"The model's own noise schedule (sigma up to {float(sampling.sigma_max):.1f}) is"
            " replaced by the motion module's; choose the schedule \"model's own\" to keep it."
        )
    return notes


def _own_table(model: ModelPatcher, sampling: Any) -> bool:
    """Whether a MODEL's table is a node's own: neither its checkpoint's nor AnimateDiff's."""
    if "model_sampling" not in model.object_patches:
        return False
    now = sampling.sigmas
    config: Any = model.model.model_config  # type: ignore[union-attr]  # of every MODEL
    for settings in (getattr(config, "sampling_settings", {}), BETAS):
        known = type("Known", (), {"sampling_settings": settings})()
        table = comfy.model_sampling.ModelSamplingDiscrete(known, zsnr=sampling.zsnr).sigmas
        steps = len(table) // len(now)  # LCM keeps every n-th
        if steps and torch.allclose(table.flip(0)[::steps][: len(now)].flip(0), now.cpu()):
            return False
    return True


def _stated(file: Any) -> Prediction | None:
    """What a checkpoint's file says that it predicts, where that costs nothing to ask."""
    if not isinstance(file, (str, Path)) or not str(file).endswith(".safetensors"):
        return None  # a torch file would be read whole for it
    try:
        return stated_prediction(Path(file), *read_header(file))
    except UserError:
        return None  # moved or replaced since: what is loaded is not asked of it
