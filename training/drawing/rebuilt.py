"""What a plan names, made again as ComfyUI's MODEL and VAE, and as the encoder of its set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.samplers
import comfy.sd
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.files.tensors import read_tensors
from ...adapters.host import noise_schedule
from ...adapters.host.motion_module import apply_motion_module, load_motion_module
from ...adapters.worlds import model as worlds
from ...adapters.worlds.pixels import ShapesVAE
from ...common.errors import UserError
from ...worlds.known import WORLDS
from ..sets.encoders import Encoder, HostEncoder, ShapesEncoder
from ..sets.plan import Plan, Words


def load_model(plan: Plan, words: Words) -> ModelPatcher:
    """The MODEL. Raises UserError for a file that is missing, damaged or another than planned.

    So it does for a sampler or scheduler that is not there: ComfyUI would take another in silence.
    """
    kinds: Any = comfy.samplers.KSampler
    for name, known in ((plan.sampler_name, kinds.SAMPLERS), (plan.scheduler, kinds.SCHEDULERS)):
        if name not in known:
            raise UserError(
                "KSampler", f"nothing called {name}", "what there was when Train was pressed",
                "Choose another on the node and press Train again.",
            )  # fmt: skip  # subject, found, expected, next move
    if plan.base in WORLDS:
        model = worlds.load_model(plan.model)
    else:
        tensors, _ = read_tensors(plan.model)
        dtype = comfy.utils.weight_dtype(tensors, worlds.CHECKPOINT_PREFIX)
        loaded: Any = comfy.sd.load_state_dict_guess_config(
            tensors, output_vae=False, output_clip=False, model_options={"dtype": dtype}
        )
        model = loaded[0]
    if plan.motion_module:
        module = load_motion_module(plan.motion_module)
        if module.hash != plan.motion_hash:
            raise UserError(
                plan.motion_module, "another file than when Train was pressed", "the same one",
                "Put it back and resume, or press Train again.",
            )  # fmt: skip  # file, found, expected, next move
        model = apply_motion_module(model, module, "model's own")
    said = noise_schedule.Sampling(*dataclasses.astuple(plan.sampling))
    noise_schedule.set_sampling(model, said, (words.sigmas, words.log_sigmas))
    return model


def load_vae(plan: Plan) -> Any:
    """The VAE. Raises UserError where its file is missing or damaged."""
    if not plan.vae:
        return ShapesVAE()
    tensors, _ = read_tensors(Path(plan.vae))
    return comfy.sd.VAE(sd=dict(tensors), dtype=getattr(torch, plan.vae_dtype))


class PlannedEncoder:
    """The plan's VAE, and its words as ComfyUI's CLIP read them at the press."""

    factor = 8

    def __init__(self, plan: Plan, words: Words, vae: Any):
        self.id = plan.encoder
        self._texts = dict(zip(plan.texts, words.captions, strict=True))
        self._sections = dict(zip(plan.texts, plan.sections, strict=True))
        process_in = comfy.latent_formats.SD15().process_in
        pixels: Encoder = HostEncoder(vae, None, process_in, plan.encoder)
        self._pixels = pixels if plan.vae else ShapesEncoder()

    def encode_frames(self, frames: Tensor) -> Tensor:
        return self._pixels.encode_frames(frames)

    def encode_prompt(self, text: str) -> Tensor:
        return self._texts[text]

    def sections(self, text: str) -> int:
        return self._sections[text]
