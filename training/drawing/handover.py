"""What ComfyUI has on its wires as data for another process; or why it is more than data."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import comfy.cli_args
import comfy.k_diffusion.sampling
import comfy.ldm.models.autoencoder
import comfy.model_base
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.host import companions, hooks, motion_module
from ...adapters.host.model_parts import OPTIONS, parts_beyond_weights
from ...adapters.host.noise_schedule import sampling_of, tables_of
from ...adapters.host.spatial_adapter import SpatialPatch
from ...adapters.worlds.model import WorldModel
from ...adapters.worlds.pixels import ShapesVAE
from ..sets.plan import Host, Sampling
from .sampling import Conditioning

TIMESTEPS = 1000  # of every schedule that can be handed over


class NotData(Exception):
    """str() is what there is beside data, in words that end a sentence."""


def sampling_data(model: ModelPatcher) -> tuple[Sampling, tuple[Tensor, Tensor]]:
    """How a MODEL samples, and its tables. Raises NotData."""
    said, own = sampling_of(model), model.get_model_object("model_sampling")
    known = said is not None and (said.predicts, said.distilled > 0) != ("x0", True)
    if said is None or not known or getattr(own, "num_timesteps", 0) != TIMESTEPS:
        raise NotData("a way to sample that only this ComfyUI knows")
    return Sampling(*said), tables_of(model)


def check_model(model: ModelPatcher) -> None:
    """Raise NotData for a MODEL that is more than its weights, its sampling and a motion module.

    Raises UserError for a model of another family.
    """
    _, base = hooks.layout_of(model)
    network: Any = model.model
    config = type(network.model_config)
    if type(network) is not comfy.model_base.BaseModel or config not in (
        comfy.supported_models.SD15,
        WorldModel,
    ):
        raise NotData(f"a model of another kind than {base}")
    if hooks.is_quantized(model):
        raise NotData("weights of 8 bits or fewer")
    if any(isinstance(p[1], SpatialPatch) for listed in model.patches.values() for p in listed):
        raise NotData("a Spatial Adapter on the model")
    if parts := [*parts_beyond_weights(model), *_others(model)]:
        raise NotData(", ".join(dict.fromkeys(parts)))


def _others(model: ModelPatcher) -> list[str]:
    """What else than plain data is in a MODEL; its motion module is known by its file."""
    parts: list[str] = []
    options: dict[str, Any] = dict(model.model_options)
    inside = options.pop("transformer_options", {})
    given = [key for key, value in (*options.items(), *inside.items()) if value]
    if found := [key for key in given if key not in OPTIONS]:
        parts.append(f"options of sampling ({', '.join(sorted(found)[:3])})")
    if set(model.object_patches) - {"model_sampling"}:
        parts.append("exchanged parts of the model")
    ours = {motion_module.KEY, companions.KEY}
    wrappers = {str(k) for kinds in model.wrappers.values() for k, own in kinds.items() if own}
    if others := sorted(wrappers - ours):
        parts.append(f"wrappers ({', '.join(others[:3])})")
    if any(own for kinds in model.callbacks.values() for own in kinds.values()):
        parts.append("callbacks of other nodes")
    if set(model.attachments) - {hooks.CHECKPOINT}:
        parts.append("what other nodes have attached to it")
    if any(model.weight_wrapper_patches.values()):
        parts.append("weights that are made while sampling")
    models = {key: own for key, own in model.additional_models.items() if own}
    module = models.pop(motion_module.KEY, [])
    if models:
        parts.append("further models beside it")
    if any(patcher.patches for patcher in module):
        parts.append("an adapter or a motion LoRA on the motion module")
    return parts


def check_sampler(sampler_name: str, scheduler: str) -> None:
    """Raise NotData for a sampler or scheduler that another pack has added."""
    function = getattr(comfy.k_diffusion.sampling, f"sample_{sampler_name}", None)
    own = sampler_name in ("ddim", "uni_pc", "uni_pc_bh2") or _is_comfys(function)
    if not own:
        raise NotData(f"the sampler {sampler_name} of another pack")
    handler = comfy.samplers.SCHEDULER_HANDLERS[scheduler].handler
    if not _is_comfys(getattr(handler, "func", handler)):
        raise NotData(f"the scheduler {scheduler} of another pack")


def _is_comfys(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("comfy.")


def check_vae(vae: Any) -> None:
    """Raise NotData for a VAE that its weights do not make."""
    if isinstance(vae, ShapesVAE):
        return
    kind = comfy.ldm.models.autoencoder.AutoencoderKL
    if type(vae) is not comfy.sd.VAE or type(vae.first_stage_model) is not kind:
        raise NotData("a VAE of another kind than SD1.5's")
    if vae.patcher.patches or vae.patcher.object_patches:
        raise NotData("patches on the VAE")


def words_data(conditioning: Conditioning) -> tuple[Tensor, Tensor | None]:
    """CONDITIONING of plain words as (1, tokens, dim), (1, dim) or None. Raises NotData."""
    if len(conditioning) == 1:
        text, options = conditioning[0]
        pooled = options.get("pooled_output")
        plain = pooled is None or isinstance(pooled, Tensor)
        if isinstance(text, Tensor) and plain and set(options) <= {"pooled_output"}:
            return text.cpu(), None if pooled is None else pooled.cpu()
    raise NotData("hooks or schedules on the CLIP")


def this_host() -> Host:
    """The ComfyUI of this process."""
    chosen, plain = vars(comfy.cli_args.args), vars(comfy.cli_args.parser.parse_args([]))
    other = {name: value for name, value in chosen.items() if value != plain.get(name)}
    folder = Path(comfy.sample.__file__).resolve().parents[1]
    return Host(str(folder), json.dumps(other, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return sorted(map(_plain, value)) if isinstance(value, (set, tuple)) else str(value)
