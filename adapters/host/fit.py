"""Whether a file's layers fit the network that is loaded, and whether it was trained for it.

A layer that is missing or of another size is refused; a file that was trained for another motion
module or checkpoint of the same family works, and is warned of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...common.errors import UserError
from ..files.adapter import AdapterInfo
from ..files.metadata import UNKNOWN
from ..files.motion_weights import MotionWeightsInfo
from . import hooks

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Fit:
    """Names of a file's layers: those that fit a network, and those that do not, by the reason."""

    fitting: list[str]
    missing: list[str]
    wrong: dict[str, str]  # there in another size: which, and which there


def fit_layers(wanted: Shapes, network: Shapes) -> Fit:
    """Compare the shapes that a file's layers ask for with those of a network, by name."""
    missing = [name for name in wanted if name not in network]
    there = [name for name in wanted if name in network]
    wrong = {
        name: f"{tuple(wanted[name])}, there {tuple(network[name])}"
        for name in there
        if tuple(wanted[name]) != tuple(network[name])
    }
    return Fit([name for name in there if name not in wrong], missing, wrong)


def refuse_misfit(
    fit: Fit, name: Path | str, expected: str, next_move: str, may_lack: bool = False
) -> None:
    """Raise UserError unless every layer fits.

    name: the file that the layers are of; may_lack: missing ones are allowed, as long as one fits.
    """
    found = None
    if fit.missing and not (may_lack and fit.fitting):
        count = len(fit.fitting) + len(fit.missing) + len(fit.wrong)
        found = f"{len(fit.missing)} of {count} layers not there, first {fit.missing[0]!r}"
    elif fit.wrong:
        first, sizes = next(iter(fit.wrong.items()))
        found = f"{len(fit.wrong)} layers of another size, first {first!r} {sizes}"
    if found:
        raise UserError(name, found, expected, next_move)


def other_module(
    motion: Any, trained_on: AdapterInfo | MotionWeightsInfo, name: str, advice: str
) -> list[str]:
    """A warning where a file was trained on another motion module than the one that is loaded."""
    if not _differ(trained_on.motion_module, motion.file_hash):
        return []
    return [
        f"{name} was trained on the motion module {trained_on.motion_module_name}, this is"
        f" {motion.file_name}: {advice}"
    ]


def other_checkpoint(model: ModelPatcher, trained_for: AdapterInfo, name: str) -> list[str]:
    """A warning where an adapter was trained for another checkpoint than the connected one."""
    if not _differ(trained_for.fingerprint, hooks.fingerprint_of(model)):
        return []
    return [
        f"{name} was trained for the checkpoint {trained_for.checkpoint_name}, another one is"
        " connected: its look may suffer. Load that checkpoint, or train a Spatial Adapter for"
        " this one."
    ]


def _differ(trained: str, here: str | None) -> bool:
    """Whether both are known, and not the same."""
    return here is not None and UNKNOWN not in (trained, here) and trained != here
