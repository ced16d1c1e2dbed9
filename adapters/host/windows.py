"""Clips longer than a motion module's limit: sample overlapping windows of frames, then blend.

Core has context windows too, but they cut ControlNet's hints wrongly in every version, fail on
batches of frames in older ones, and give each window a frame too many in newer ones. This handler
plugs into the same place (model_options["context_handler"]) and runs alike on all of them.

One rule decides what a window sees: a thing with n entries gives frame i its entry i % n, which
is what a batch without windows does with conditions, masks and hints that are shorter than it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from comfy.conds import CONDRegular
from comfy.context_windows import (
    ContextHandlerABC,
    ContextWindowABC,
    create_prepare_sampling_wrapper,
)
from comfy.controlnet import ControlBase
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...common.errors import UserError
from ..window_plans import SCHEDULES
from . import evolved
from .calls import entries
from .motion_module import motion_limit

KEY = "still_moving_windows"
# Where AnimateDiff-Evolved says in transformer_options which frames are sampled; IPAdapter Plus and
# Advanced-ControlNet look there, too. What has the second name cuts its own hints by it.
AD_PARAMS, CUTS_ITSELF = "ad_params", "sub_idxs"
Cond = dict[str, Any]


class FrameWindow(ContextWindowABC):
    """Frames of a clip; samplers show it as transformer_options["context_window"]."""

    def __init__(self, index_list: list[int], total_frames: int) -> None:
        self.index_list = index_list
        self.context_length = len(index_list)
        self.total_frames = total_frames
        self.dim = 0

    def get_tensor(self, full: Tensor, device: Any = None, dim: int = 0) -> Tensor:
        if dim == 0 and full.shape[0] == 1:
            return full
        picked = full[(slice(None),) * dim + (self.index_list,)]
        return picked if device is None else picked.to(device)

    def add_window(self, full: Tensor, to_add: Tensor) -> Tensor:
        full[self.index_list] += to_add
        return full

    def ad_params(self) -> dict[str, Any]:
        """Which frames these are, as other packs read it."""
        return {
            "full_length": self.total_frames,
            "context_length": self.context_length,
            "sub_idxs": self.index_list,
        }

    def weights(self) -> Tensor:
        """How much each frame counts: least at the window's ends, where context is missing."""
        ramp = torch.arange(1, self.context_length + 1)
        return torch.minimum(ramp, ramp.flip(0)).float()


class FrameWindows(ContextHandlerABC):
    """Evaluates a batch of frames window by window; `context_length` and `dim` are core's names."""

    def __init__(self, length: int, overlap: int, schedule: str) -> None:
        self.context_length = length
        self.context_overlap = overlap
        self.schedule = schedule
        self.dim = 0
        self._controls: dict[tuple[int, tuple[int, ...]], tuple[ControlBase, ControlBase]] = {}
        self._chained: dict[int, tuple[ControlBase, ControlBase | None]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FrameWindows:
        # Older versions of ComfyUI deep-copy model_options: networks in use must not come along.
        return FrameWindows(self.context_length, self.context_overlap, self.schedule)

    def windows(self, frames: int) -> list[FrameWindow]:
        plan = SCHEDULES[self.schedule](frames, self.context_length, self.context_overlap)
        return [FrameWindow(indexes, frames) for indexes in plan]

    def should_use_context(
        self, model: Any, conds: Any, x_in: Tensor, timestep: Tensor, model_options: Cond
    ) -> bool:
        return x_in.shape[0] > self.context_length

    def execute(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: Any,
        conds: list[Any],
        x_in: Tensor,
        timestep: Tensor,
        model_options: Cond,
    ) -> list[Tensor]:
        """One prediction (frames, ...) per cond, blended from the windows' predictions."""
        windows = self.windows(x_in.shape[0])
        total = torch.zeros(x_in.shape[0])
        for window in windows:
            window.add_window(total, window.weights())
        blended = [torch.zeros_like(x_in) for _ in conds]
        options = model_options["transformer_options"]
        before = options.get(AD_PARAMS)
        try:
            for window in windows:
                throw_exception_if_processing_interrupted()
                options["context_window"] = window
                options[AD_PARAMS] = (before or {}) | window.ad_params()
                share = (window.weights() / window.get_tensor(total)).to(x_in)
                parts = calc_cond_batch(
                    model,
                    [self.get_resized_cond(cond, x_in, window) for cond in conds],
                    window.get_tensor(x_in),
                    window.get_tensor(timestep),
                    model_options,
                )
                for full, part in zip(blended, parts, strict=True):
                    window.add_window(full, part * share.view(-1, *[1] * (x_in.ndim - 1)))
        finally:
            self._chain_again()
            options.pop("context_window", None)
            options.pop(AD_PARAMS, None)
            if before is not None:
                options[AD_PARAMS] = before
        return blended

    def get_resized_cond(
        self, cond_in: list[Cond] | None, x_in: Tensor, window: Any, device: Any = None
    ) -> Any:
        """The same conditions for the window's frames only."""
        if cond_in is None:
            return None
        return [
            {key: self._resized(key, value, x_in, window.index_list) for key, value in cond.items()}
            for cond in cond_in
        ]

    def _resized(self, key: str, value: Any, x_in: Tensor, frames: list[int]) -> Any:
        if key == "control" and isinstance(value, ControlBase):
            return self._windowed(value, frames)
        if isinstance(value, Tensor):
            # Other tensors than masks are left whole unless they clearly hold one entry a frame.
            per_frame = value.ndim > 0 and value.shape[0] == x_in.shape[0]
            return entries(value, frames) if key == "mask" or per_frame else value
        if key == "model_conds":
            return {name: cond_for(item, frames) for name, item in value.items()}
        return value

    def _windowed(self, control: ControlBase, frames: list[int]) -> ControlBase:
        """A control, and those before it in its chain, with the hints of frames.

        The same object each time: core batches conds of one control object only, and an object
        keeps its encoded hint, so that hints are encoded once per window, not in every step.
        """
        itself = hasattr(control, CUTS_ITSELF)
        previous = control.previous_controlnet
        if itself:  # its previous one is a window's until _chain_again
            _, previous = self._chained.setdefault(id(control), (control, previous))
        if previous is not None:
            previous = self._windowed(previous, frames)
        if itself:
            control.previous_controlnet = previous
            return control
        key = (id(control), tuple(frames))
        if key not in self._controls:
            # The original is kept beside its copy, because an id is only unique while it lives.
            self._controls[key] = (control, self._copied(control, frames))
        part = self._controls[key][1]
        part.previous_controlnet = previous
        return part

    def _copied(self, control: ControlBase, frames: list[int]) -> ControlBase:
        part: Any = copy.copy(control)  # shallow: it shares the network that is loaded
        part.cond_hint = None
        if hasattr(part, "control_input"):  # a T2IAdapter's encoded hint
            part.control_input = None
        if isinstance(part.cond_hint_original, Tensor):
            part.cond_hint_original = entries(part.cond_hint_original, frames)
        part.extra_concat_orig = [entries(extra, frames) for extra in part.extra_concat_orig]
        clones = getattr(part, "multigpu_clones", None)
        if clones:
            part.multigpu_clones = {at: self._windowed(c, frames) for at, c in clones.items()}
        return part

    def _chain_again(self) -> None:
        """Give the controls that cut their own hints back what came before them."""
        for control, previous in self._chained.values():
            control.previous_controlnet = previous
        self._chained.clear()

    def forget_controls(self) -> None:
        """Let go of hints and networks when a sampling run is over."""
        self._controls.clear()


def cond_for(item: Any, frames: list[int]) -> Any:
    """A model condition for some frames; kinds that hold no batch pass through."""
    if isinstance(item, CONDRegular) and isinstance(item.cond, Tensor):
        return item._copy_with(entries(item.cond, frames))
    return item


def apply_windows(model: ModelPatcher, length: int, overlap: int, schedule: str) -> ModelPatcher:
    """A clone that samples length frames at a time; memory is reserved for a window only.

    Raises UserError if windows could not advance, or are longer than the motion module allows.
    """
    if overlap >= length:
        raise UserError(
            "Context Windows",
            f"an overlap of {overlap} frames",
            f"less than the length, {length}",
            "Lower the overlap; a quarter of the length is usual.",
        )
    evolved.refuse_windows(model)
    limit = motion_limit(model)
    if limit is not None and length > limit:
        raise UserError(
            "Context Windows",
            f"a length of {length} frames",
            f"{limit} or fewer, the limit of the motion module",
            "Lower the length; the clip itself can be as long as you like.",
        )
    windowed = model.clone()
    windowed.model_options["context_handler"] = FrameWindows(length, overlap, schedule)
    create_prepare_sampling_wrapper(windowed)
    windowed.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    windowed.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _forget_after)
    return windowed


def _forget_after(executor: Any, *args: Any, **named: Any) -> Any:
    guider = executor.class_obj
    evolved.refuse_windows(guider.model_patcher)  # it may have been applied after ours
    handler = guider.model_options.get("context_handler")
    try:
        return executor(*args, **named)
    finally:
        if isinstance(handler, FrameWindows):
            handler.forget_controls()
