"""The noise schedule that a motion module was trained on, as a MODEL's sampling object.

AnimateDiff's linear betas are ComfyUI's "sqrt_linear"; SD's own are "linear" there.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import comfy.model_sampling
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_model_advanced import LCM, ModelSamplingDiscreteDistilled
from torch import Tensor

Schedule = Literal["auto", "AnimateDiff", "AnimateLCM", "model's own"]
SCHEDULES: tuple[Schedule, ...] = ("auto", "AnimateDiff", "AnimateLCM", "model's own")
LCM_TIMESTEPS = 100  # that AnimateLCM was distilled on


class _OwnTables:
    """Keeps the tables of sigmas out of the module's buffers, and its own.

    Under dynamic VRAM, ComfyUI backs up buffers by their path and registers them there again when
    it loads the next clone, the plain checkpoint's table here (ComfyUI issue 16490). What is no
    buffer is never backed up; and what is there stays, unless ``set_sigmas`` is what changes it.
    """

    def set_sigmas(self, sigmas: Tensor) -> None:
        for name in ("sigmas", "log_sigmas"):
            self.__dict__.pop(name, None)
        super().set_sigmas(sigmas)  # type: ignore[misc]  # of the class that this is mixed into

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        self.__dict__.setdefault(name, tensor)


class AnimateDiffSampling(_OwnTables, comfy.model_sampling.ModelSamplingDiscrete):
    """Tables of a discrete schedule."""


class AnimateLCMSampling(_OwnTables, ModelSamplingDiscreteDistilled):
    """Tables of a distilled schedule."""

    original_timesteps = LCM_TIMESTEPS


PREDICTIONS = {
    ModelType.EPS: comfy.model_sampling.EPS,
    ModelType.V_PREDICTION: comfy.model_sampling.V_PREDICTION,
}


def set_schedule(model: ModelPatcher, schedule: Schedule, version: str) -> None:
    """Give a MODEL the schedule of a motion module; "model's own" leaves it as it is.

    version: of the motion module; "auto" is AnimateLCM's schedule for that one, else
    AnimateDiff's. The model keeps its kind of prediction (epsilon or v).
    """
    if schedule == "auto":
        schedule = "AnimateLCM" if version == "AnimateLCM" else "AnimateDiff"
    if schedule == "model's own":
        return
    prediction: Any = PREDICTIONS.get(model.model.model_type, comfy.model_sampling.EPS)
    if schedule == "AnimateLCM":
        prediction, tables, betas = LCM, AnimateLCMSampling, "linear"
    else:
        tables, betas = AnimateDiffSampling, "sqrt_linear"
    kind: Any = type(tables.__name__, (tables, prediction), {})
    settings = {"beta_schedule": betas, "linear_start": 0.00085, "linear_end": 0.012}
    model.add_object_patch("model_sampling", kind(SimpleNamespace(sampling_settings=settings)))
