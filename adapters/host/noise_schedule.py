"""The noise schedule that a motion module was trained on, as a MODEL's sampling object.

AnimateDiff's linear betas are ComfyUI's "sqrt_linear"; SD's own are "linear" there. What the image
model predicts is its own affair: that is kept, whichever node has set it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import comfy.model_sampling
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_model_advanced import LCM, ModelSamplingDiscreteDistilled
from torch import Tensor

from ...common.errors import UserError
from ..files.prediction import Prediction

Schedule = Literal["auto", "AnimateDiff", "AnimateLCM", "model's own"]
SCHEDULES: tuple[Schedule, ...] = ("auto", "AnimateDiff", "AnimateLCM", "model's own")
# What every motion module here was trained with: AnimateDiff's (configs/training/v1/training.yaml)
# and AnimateLCM's, whose betas are the same "linear" of diffusers in its own configuration
# (G-U-N/AnimateLCM, animatelcm_sd15/configs/inference-t2v.yaml) and in diffusers' documentation of
# it. AnimateDiff-Evolved samples AnimateLCM on SD's betas instead, because its author saw less
# flicker (motion_module_ad.py: get_best_beta_schedule); here the adapters of this pack are trained
# on what the module was trained on (training/network/unet.py), and sampled on the same. SD's betas
# are one node away: ModelSamplingDiscrete with lcm, and "model's own".
BETAS = {"beta_schedule": "sqrt_linear", "linear_start": 0.00085, "linear_end": 0.012}
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


class LCMOfV(comfy.model_sampling.V_PREDICTION):
    """LCM's boundary condition (ComfyUI's LCM, which predicts epsilon) around a prediction of v."""

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        clean = super().calculate_denoised(sigma, model_output, model_input)
        own: Any = self
        shape = sigma.shape[:1] + (1,) * (model_output.ndim - 1)
        scaled = own.timestep(sigma).view(shape) * 10.0
        skip = 0.25 / (scaled**2 + 0.25)
        return scaled / (scaled**2 + 0.25) ** 0.5 * clean + skip * model_input


class Sampling(NamedTuple):
    """predicts: "epsilon", "v_prediction" or "x0"; distilled: LCM's timesteps, 0 for none."""

    predicts: str
    distilled: int
    zero_snr: bool


_DENOISED = {
    comfy.model_sampling.EPS.calculate_denoised: "epsilon",
    comfy.model_sampling.V_PREDICTION.calculate_denoised: "v_prediction",
    comfy.model_sampling.X0.calculate_denoised: "x0",
    LCMOfV.calculate_denoised: "v_prediction",
}
_CLASSES: dict[tuple[str, bool], Any] = {
    ("epsilon", False): comfy.model_sampling.EPS,
    ("v_prediction", False): comfy.model_sampling.V_PREDICTION,
    ("x0", False): comfy.model_sampling.X0,
    ("epsilon", True): LCM,
    ("v_prediction", True): LCMOfV,
}


def sampling_of(model: ModelPatcher) -> Sampling | None:
    """How a MODEL samples, None where that is not on discrete timesteps with noise by sigmas."""
    sampling: Any = model.get_model_object("model_sampling")
    kind: Any = type(sampling)
    # ComfyUI loads its own nodes as modules of other names than the import above: LCM is told by
    # its name, for there it is another class.
    names = kind.calculate_denoised.__qualname__, getattr(kind, "timestep", kind).__qualname__
    distilled = names[1].endswith("ModelSamplingDiscreteDistilled.timestep")
    predicts = _DENOISED.get(kind.calculate_denoised)
    if names[0] == "LCM.calculate_denoised":
        predicts = "epsilon"
    plain = comfy.model_sampling.ModelSamplingDiscrete.timestep
    scaled = kind.calculate_input is comfy.model_sampling.EPS.calculate_input
    if predicts is None or not scaled or getattr(sampling, "sigma_data", 1.0) != 1.0:
        return None
    if not distilled and kind.timestep is not plain:
        return None
    steps = int(sampling.original_timesteps) if distilled else 0
    return Sampling(predicts, steps, bool(getattr(sampling, "zsnr", False)))


def set_schedule(model: ModelPatcher, schedule: Schedule, version: str) -> None:
    """Give a MODEL the schedule of a motion module; "model's own" leaves it as it is.

    version: of the motion module; "auto" is AnimateLCM's schedule for that one, else
    AnimateDiff's. The model keeps what it predicts, LCM's timesteps, and a zero terminal SNR.
    Raises UserError for a MODEL that samples in a way which has no such schedule.
    """
    if schedule == "auto":
        schedule = "AnimateLCM" if version == "AnimateLCM" else "AnimateDiff"
    if schedule == "model's own":
        return
    now = sampling_of(model)
    lcm = now is not None and (schedule == "AnimateLCM" or now.distilled > 0)
    if now is None or (now.predicts, lcm) not in _CLASSES:
        raise UserError(
            "model", f"sampling by {_described(model)}", "epsilon, v or x0 on discrete timesteps"
            f"{', not x0 with LCM' if now else ''}, as the motion module was trained",
            "Take off the node that changed how the model samples, or choose the schedule"
            ' "model\'s own".',
        )  # fmt: skip  # file, found, expected, next move
    steps = now.distilled or LCM_TIMESTEPS if lcm else 0
    model.add_object_patch("model_sampling", _made(now._replace(distilled=steps)))


def _made(said: Sampling) -> Any:
    """A sampling object on AnimateDiff's betas."""
    tables: Any = AnimateLCMSampling if said.distilled else AnimateDiffSampling
    steps = {"original_timesteps": said.distilled} if said.distilled else {}
    parts = (tables, _CLASSES[said.predicts, said.distilled > 0])
    kind: Any = type(tables.__name__, parts, steps)
    return kind(SimpleNamespace(sampling_settings=BETAS), zsnr=said.zero_snr)


def tables_of(model: ModelPatcher) -> tuple[Tensor, Tensor]:
    """The sigmas of a MODEL's timesteps and their logarithms, (timesteps,) each, on the CPU."""
    sampling: Any = model.get_model_object("model_sampling")
    return sampling.sigmas.detach().cpu().clone(), sampling.log_sigmas.detach().cpu().clone()


def set_sampling(model: ModelPatcher, said: Sampling, tables: tuple[Tensor, Tensor]) -> None:
    """Have a MODEL sample as ``sampling_of`` and ``tables_of`` said of another one."""
    sampling = _made(said)
    sampling.set_sigmas(tables[0])
    # Not computed from the sigmas anew: those are rounded, and these were not made from that.
    vars(sampling)["log_sigmas"] = tables[1]
    model.add_object_patch("model_sampling", sampling)


def prediction_of(model: ModelPatcher) -> Prediction:
    """What a MODEL's network predicts, for training. Raises UserError for what is not trained."""
    now = sampling_of(model)
    if now is not None and now.predicts in ("epsilon", "v_prediction"):
        kind: Any = now.predicts
        return Prediction(kind, now.zero_snr and kind == "v_prediction")
    raise UserError(
        "model", f"sampling by {_described(model)}", "a model that predicts epsilon or v",
        "Take off the node that changed how the model samples.",
    )  # fmt: skip  # file, found, expected, next move


def _described(model: ModelPatcher) -> str:
    """The sampling classes of ComfyUI that a MODEL has: its tables, and what it predicts."""
    kinds = type(model.get_model_object("model_sampling")).__mro__
    named = [k.__name__ for k in kinds if k.__module__.endswith(("model_sampling", "_advanced"))]
    named = [name for name in named if name != "ModelSamplingAdvanced"]  # the nodes' own mixture
    tables = next((name for name in named if "Sampling" in name), "other tables")
    predicts = next((name for name in named if "Sampling" not in name), "unknown")
    return f"{tables} with {predicts}"
