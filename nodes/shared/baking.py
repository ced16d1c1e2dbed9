"""The weights that a MODEL samples with, as a file for the worker: checkpoint, LoRAs and all."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import comfy.lora
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.files.checkpoint import recognize
from ...adapters.files.prediction import Prediction
from ...adapters.files.tensors import write_tensors
from ...adapters.files.unet_names import V_PRED, ZTSNR
from ...adapters.host import hooks
from ...adapters.host.model_parts import not_in_weights, refuse_unstated_v
from ...adapters.host.noise_schedule import prediction_of
from ...adapters.host.spatial_adapter import SpatialPatch
from ...adapters.worlds.pixels import ShapesVAE
from ...common import files, interrupt
from ...common.errors import UserError
from ...training.jobs import coming
from . import places, writer

PREFIX = "model.diffusion_model."
TEXT_MODEL = "clip_l.transformer."  # before the text encoder's own names in ComfyUI's CLIP
TEXT_PREFIX = "cond_stage_model.transformer."  # and in a checkpoint
_TEXT_LAYER = re.compile(rf"{re.escape(TEXT_MODEL)}text_model\.encoder\.layers\.(\d+)\.")
# Files by a MODEL's network, and by which patches it has and what it predicts.
_baked: WeakKeyDictionary[Any, dict[Any, Path]] = WeakKeyDictionary()
MARGIN = 64 * 2**20  # bytes that a full disk must still have for logs and checkpoints


def check(model: ModelPatcher) -> list[str]:
    """Before anything is computed, in words: the disk space that baking takes, and what is free.

    Also what acts while the MODEL samples and cannot be trained on. Raises UserError for a MODEL
    that no adapter can be trained for, and where the disk is full.
    """
    hooks.layout_of(model)
    said = prediction_of(model)
    _refuse(model)
    size, folder = _size(model), places.weights()
    files.make_folder(folder)
    files.sweep(folder)
    # Weights of this size may be these very ones, which take no room again.
    if all(file.stat().st_size < size for file in folder.glob("*.safetensors")):
        need_room(folder, size)
    free = in_words(_free(folder))
    room = f"The job keeps the model's weights on disk: {in_words(size)} of {free} free."
    v = [] if said.kind == "epsilon" else [f"Trained in what the model predicts: {said}."]
    return [room, *v, *not_in_weights(model)]


def predicted(model: ModelPatcher) -> dict[str, Any]:
    """What a recipe says of what a MODEL predicts: nothing where that is the noise.

    Raises UserError for a MODEL that predicts anything else than noise or v.
    """
    hooks.layout_of(model)  # a model of another family is called by that
    refuse_unstated_v(model)
    said = prediction_of(model)
    if said.kind == "epsilon":
        return {}
    return {"prediction": said.kind, "zero_snr": said.zero_snr}


def bake(model: ModelPatcher) -> Path:
    """Have a MODEL's effective UNet written to ``weights/`` and return the file; one a content.

    The file may be ``coming`` for some seconds yet. The MODEL is one that ``check`` let pass.
    Raises UserError where the disk is full.
    """
    said = prediction_of(model)
    # A press may ask for the same weights several times, and reading them all takes seconds.
    known = _baked.setdefault(model.model, {})
    state = model.patches_uuid, said.kind, said.zero_snr, places.weights()
    if state not in known or not coming.is_coming(known[state]):
        known[state] = _bake(model, said)
    return known[state]


def _bake(model: ModelPatcher, said: Prediction) -> Path:
    unet = dict(effective_unet(model))
    recognize("model", unet)  # a patch may have changed a shape, and the worker knows no MODEL
    tensors = {f"{PREFIX}{name}": tensor for name, tensor in unet.items()}
    marks = {V_PRED: said.kind == "v_prediction", ZTSNR: said.zero_snr}
    tensors |= {mark: torch.empty(0) for mark, is_so in marks.items() if is_so}
    return _written(tensors, "a training job's checkpoint")


def bake_clip(clip: Any) -> Path:
    """Write a CLIP's effective text encoder to ``weights/`` and return the file.

    At once: the press reads with it what the worker will. Raises UserError for a CLIP that is not
    SD1.5's, and where the disk is full.
    """
    tensors = {f"{TEXT_PREFIX}{name}": tensor for name, tensor in effective_text(clip)}
    if not tensors:
        raise UserError(
            "clip",
            f"a {type(clip.cond_stage_model).__name__}",
            "the CLIP of an SD1.5 checkpoint",
            "Connect the CLIP of the checkpoint that is trained for.",
        )
    return _written(tensors, "a training job's text encoder", write_tensors)


def bake_vae(vae: Any) -> Path | None:
    """Have a VAE written to ``weights/`` and return the file; None for the shapes world's.

    Raises UserError where the disk is full.
    """
    if isinstance(vae, ShapesVAE):
        return None
    weights = vae.first_stage_model.state_dict()
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    return _written(tensors, "a training job's VAE")


def effective_text(clip: Any) -> Iterator[tuple[str, Tensor]]:
    """(name from "text_model." on, weight) of SD1.5's text encoder with every patch applied.

    Without the layers that CLIP Set Last Layer skips: what is left reads as the whole does then.
    """
    patcher: ModelPatcher = clip.patcher
    weights = patcher.model.state_dict()
    layer_of = {key: int(match[1]) for key in weights if (match := _TEXT_LAYER.match(key))}
    count, chosen = len(set(layer_of.values())), clip.layer_idx
    if not count:
        return
    if chosen is None or abs(chosen) > count:  # then ComfyUI reads with all of them
        chosen = -1
    for key, weight in weights.items():
        name = key.removeprefix(TEXT_MODEL)
        if (
            name != key
            and name.startswith("text_model.")
            and layer_of.get(key, 0) <= chosen % count
        ):
            backup = patcher.backup.get(key)
            yield name, _effective(patcher, key, weight if backup is None else backup.weight)


def effective_unet(model: ModelPatcher) -> Iterator[tuple[str, Tensor]]:
    """(LDM name, weight) with every patch applied, on the CPU, in the weights' own precision.

    Patches are computed in fp32 and rounded once.
    """
    for name, weight in hooks.unpatched_unet(model).items():
        interrupt.check()
        yield name, _effective(model, f"{hooks.UNET}{name}", weight)


def _effective(patcher: ModelPatcher, key: str, weight: Tensor) -> Tensor:
    own = weight.detach().to("cpu")
    if patches := patcher.patches.get(key):
        whole = own.to(torch.float32, copy=True)
        patched: Any = comfy.lora.calculate_weight(patches, whole, key)
        own = patched.to(own.dtype)
    return own.contiguous()


def _refuse(model: ModelPatcher) -> None:
    patches = (patch[1] for listed in model.patches.values() for patch in listed)
    if any(isinstance(patch, SpatialPatch) for patch in patches):
        raise UserError(
            "model",
            "a Spatial Adapter on it",
            "the customized model alone (LoRAs are welcome)",
            "Connect the model from before Apply Spatial Adapter.",
        )
    if hooks.is_quantized(model):
        raise UserError(
            "model",
            "fp8 or quantized weights",
            "fp16, bf16 or fp32",
            "Load the checkpoint in fp16 for training; the adapter works on fp8 as well.",
        )


def _soon(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    writer.write(path, tensors, metadata, _content)


def _written(tensors: dict[str, Tensor], made_by: str, write: Callable[..., None] = _soon) -> Path:
    """The file of these weights, which is written, soon or at once, unless it is there."""
    path = places.weights() / f"{_content(tensors)}.safetensors"
    if not coming.is_coming(path):
        files.make_folder(path.parent)
        need_room(path.parent, sum(tensor.nbytes for tensor in tensors.values()))
        write(path, tensors, {"made_by": made_by})
    return path


def _content(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        interrupt.check()
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(memoryview(tensors[name].reshape(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]  # an array is a buffer
    return digest.hexdigest()[:32]


def _size(model: ModelPatcher) -> int:
    return sum(weight.nbytes for weight in hooks.unpatched_unet(model).values())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free - writer.waiting_bytes()


def in_words(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def need_room(folder: Path, size: int, what: str = "the model's weights") -> None:
    """Raise UserError where a disk has no room for so many bytes, with a margin."""
    free = _free(folder)
    if free < size + MARGIN:
        raise UserError(
            folder,
            f"{in_words(free)} free",
            f"{in_words(size + MARGIN)} for {what}",
            "Free some space, or delete old jobs in the Still-Moving tab.",
        )
