"""LoRA files for images, in the forms that tools write: read, merged into a UNet, and written.

An appearance absorber of Customize-A-Video (arXiv:2402.14780) is such a file, ours or another
tool's: held fixed while a motion is learned, it is simply part of the image model's weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from ..low_rank import LowRank, merge_lora
from .checkpoint import UNetWeights
from .keys import UNetLayout
from .tensors import read_tensors, refuse_non_finite, write_tensors

_PART = re.compile(
    r"(?:lora_unet|unet|diffusion_model|base_model[._]model)[._](?P<layer>.+?)"
    r"(?:[._]lora_(?P<down>down|A)|[._]lora_(?P<up>up|B)"
    r"|[._]lora[._](?P<down2>down)|[._]lora[._](?P<up2>up)"
    r"|_lora[._](?P<down3>down)|_lora[._](?P<up3>up))"
    r"(?:\.default)?\.weight|(?:lora_unet)_(?P<alpha>.+?)\.alpha"
)
_TEXT = ("lora_te", "text_encoder", "text_model")  # not for the image model: left out
EXPECTED = "a LoRA for SD1.5 images"


def save_image_lora(
    path: Path | str, pairs: Mapping[str, LowRank], layout: UNetLayout, metadata: Mapping[str, str]
) -> None:
    """Write pairs, by LDM layer, as kohya's LoRA: the form that the most tools load."""
    tensors: dict[str, Tensor] = {}
    for layer, pair in pairs.items():
        name = f"lora_unet_{_plain(layout.to_diffusers(layer))}"
        tensors[f"{name}.lora_down.weight"] = pair.down
        tensors[f"{name}.lora_up.weight"] = pair.up
        tensors[f"{name}.alpha"] = torch.tensor(float(pair.rank))
    refuse_non_finite(path, tensors)
    rank = str(max(pair.rank for pair in pairs.values()))
    write_tensors(path, tensors, {"ss_network_dim": rank, "ss_network_alpha": rank, **metadata})


@lets_go
def merge_image_lora(weights: UNetWeights, path: Path | str, scale: float = 1.0) -> UNetWeights:
    """A UNet with the LoRA of a file in its weights: W + scale * (alpha / rank) up down.

    Layers of the text encoder are left out. Raises UserError for another kind of file, for
    another family, and for forms other than plain LoRA (LoHa, DoRA, ...).
    """
    path = Path(path)
    parts = _read(path)
    names = _layers(weights)
    strange = [layer for layer in parts if layer not in names]
    if strange:
        raise UserError(
            path, f"{len(strange)} of {len(parts)} layers that are not here, first {strange[0]!r}",
            f"{EXPECTED}, as the checkpoint is ({weights.base})",
            "Choose a LoRA of the checkpoint's family.",
        )  # fmt: skip  # file, found, expected, next move
    merged = dict(weights.tensors)
    for layer, part in parts.items():
        key = names[layer]
        merged[key] = _add(path, merged[key], part, key, scale)
    return replace(weights, tensors=merged)


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    """down, up and alpha by layer, its name with underscores for dots."""
    tensors, _ = read_tensors(path)
    refuse_non_finite(path, tensors)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_TEXT):
            continue
        match = _PART.fullmatch(name)
        if match is None or "motion_modules" in name:
            raise UserError(
                path, f"the key {name!r}", EXPECTED, "Choose a plain LoRA (no LoHa, LoKr or DoRA)."
            )
        layer = _plain(match["layer"] or match["alpha"]).replace("_processor_to_", "_to_")
        layer = re.sub(r"_to_out$", "_to_out_0", layer)
        down = match["down"] or match["down2"] or match["down3"]
        part = "alpha" if match["alpha"] else "down" if down else "up"
        parts.setdefault(layer, {})[part] = tensor
    if not parts:
        raise UserError(path, "no layers of an image model", EXPECTED, "Choose another file.")
    return parts


def _layers(weights: UNetWeights) -> dict[str, str]:
    """Keys of weights by the names that files have for their layers, LDM's and diffusers'."""
    names = {}
    for key in weights.tensors:
        if key.endswith(".weight"):
            layer = key.removesuffix(".weight")
            names[_plain(layer)] = key
            names[_plain(weights.layout.to_diffusers(layer))] = key
    return names


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _add(path: Path, weight: Tensor, part: Mapping[str, Tensor], key: str, scale: float) -> Tensor:
    if not {"down", "up"} <= part.keys():
        raise UserError(
            path, f"only {', '.join(part)} for {key}", "both halves of every layer",
            "The file is damaged or incomplete: download or train it again.",
        )  # fmt: skip  # file, found, expected, next move
    down, up = part["down"].float().flatten(1), part["up"].float().flatten(1)
    scale = scale * float(part["alpha"]) / len(down) if "alpha" in part else scale
    if up.shape != (weight.shape[0], len(down)) or down.shape[1] != weight[0].numel():
        raise UserError(
            path, f"{tuple(up.shape)} x {tuple(down.shape)} for {key}", f"{tuple(weight.shape)}",
            "Choose a LoRA of the checkpoint's family.",
        )  # fmt: skip  # file, found, expected, next move
    return merge_lora(weight, LowRank(down, up), scale)
