"""What an image model predicts, as a checkpoint's file and what is beside it say.

SD1.5 predicts the noise (epsilon). Some checkpoints made from it predict v = sqrt(a) noise -
sqrt(1 - a) clean (Salimans and Ho, arXiv:2202.00512), some of them on a schedule that ends in pure
noise (Lin et al., arXiv:2305.08891). The weights do not show it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...common import files
from ...common.errors import UserError

Kind = Literal["epsilon", "v_prediction"]
SCHEDULER = "scheduler_config.json"


@dataclass(frozen=True)
class Prediction:
    """kind: what the network's output is; zero_snr: its schedule ends in pure noise."""

    kind: Kind = "epsilon"
    zero_snr: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{', zero terminal SNR' if self.zero_snr else ''}"


def stated_prediction(
    path: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> Prediction | None:
    """What a file says of itself, None where it says nothing.

    By the keys `v_pred` and `ztsnr` (ComfyUI's), the metadata of kohya's scripts
    (library/sai_model_spec.py), a .yaml of the same name (LDM's configuration, as A1111 and
    InvokeAI read it), or the scheduler's settings in the same diffusers folder.
    """
    marks = {name.rpartition(".")[2] for name in names}
    if "v_pred" in marks:
        return Prediction("v_prediction", "ztsnr" in marks)
    said = metadata.get("modelspec.prediction_type")
    if said in ("v", "epsilon"):
        return Prediction("v_prediction" if said == "v" else "epsilon")
    return _of_yaml(path.with_suffix(".yaml")) or _of_folder(path)


def read_scheduler(path: Path) -> Prediction:
    """What diffusers' scheduler_config.json says. Raises UserError for what is not trained here."""
    expected = f"diffusers' {SCHEDULER}"
    try:
        settings = json.loads(files.read_text(path))
        said = settings.get("prediction_type", "epsilon")
        zero_snr = settings.get("rescale_betas_zero_snr", False)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(path, f"no settings ({error})", expected, "Choose that file.") from error
    if said not in ("epsilon", "v_prediction"):
        raise UserError(
            path, f"prediction_type {said!r}", "epsilon or v_prediction",
            "Use a checkpoint that predicts the noise or v.",
        )  # fmt: skip  # file, found, expected, next move
    kind: Any = said
    return Prediction(kind, bool(zero_snr))


def _of_yaml(path: Path) -> Prediction | None:
    try:
        text = files.read_text(path)
    except (OSError, UnicodeDecodeError):
        return None
    said = re.search(
        r"^[ \t]*parameterization:[ \t]*[\"']?(v|eps)[\"']?[ \t\r]*(?:#.*)?$", text, re.MULTILINE
    )
    if said is None:
        return None
    return Prediction("v_prediction" if said[1] == "v" else "epsilon")


def _of_folder(path: Path) -> Prediction | None:
    """Of a UNet in a diffusers folder: unet/ beside scheduler/."""
    settings = path.parent.parent / "scheduler" / SCHEDULER
    if path.parent.name != "unet" or not os.path.isfile(settings):
        return None
    return read_scheduler(settings)
