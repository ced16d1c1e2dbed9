"""What AnimateDiff-Evolved has put into a MODEL, which its nodes and ours may share.

Its settings of sampling go together with our motion module, its own motion module and its windows
with ours do not: it reads the frames of a window as those of a whole clip.
"""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

from ...common.errors import UserError

NAME = "AnimateDiff-Evolved"
# Its ModelPatcherHelper's names (animatediff/model_injection.py).
MOTION, SETTINGS = "ADE", "ADE_params"


def has_motion_module(model: ModelPatcher) -> bool:
    """Whether a MODEL carries a motion module of AnimateDiff-Evolved's."""
    return bool(model.get_additional_models_with_key(MOTION))


def has_windows(model: ModelPatcher) -> bool:
    """Whether a MODEL has AnimateDiff-Evolved's Context Options."""
    settings: Any = model.get_attachment(SETTINGS)
    options = getattr(settings, "context_options", None)
    return getattr(options, "context_length", None) is not None


def refuse_second_module(model: ModelPatcher) -> None:
    """Raise UserError for a MODEL with AnimateDiff-Evolved's motion module, to which ours comes."""
    if has_motion_module(model):
        raise UserError(
            "model",
            f"{NAME}'s motion module beside that of Apply Motion Module",
            "one of the two: each makes a clip of the frames by itself",
            f"Take out Apply Motion Module, or {NAME}'s loader.",
        )


def refuse_windows(model: ModelPatcher) -> None:
    """Raise UserError for a MODEL that Context Windows cannot cut into windows."""
    if has_motion_module(model):
        raise UserError(
            "Context Windows",
            f"{NAME}'s motion module",
            "that of Apply Motion Module, or none",
            f"Take out Context Windows, and connect {NAME}'s Context Options to its own loader.",
        )
    if has_windows(model):
        raise UserError(
            "Context Windows",
            f"{NAME}'s Context Options on the same model",
            "one of the two: windows of windows have no whole clip to be cut from",
            "Take out Context Windows or the Context Options.",
        )
