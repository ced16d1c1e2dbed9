"""LoRA files for images, in the forms that tools write: read, merged into a UNet, and written.

An appearance absorber of Customize-A-Video (arXiv:2402.14780) is such a file, ours or another
tool's: held fixed while a motion is learned, it is simply part of the image model's weights. So is
AnimateDiff's domain adapter (v3_sd15_adapter), and a Spatial Adapter that was exported as a LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from ..low_rank import LowRank, wide
from .checkpoint import UNetWeights
from .keys import UNetLayout
from .kinds import IMAGE_LORA, is_motion, kind_of
from .lora_change import (
    VECTORS,
    change_of,
    decomposed,
    fits_magnitude,
    has_matrix,
    rank_of,
    refuse_half,
)
from .lora_keys import (
    ALPHA,
    IDLE,
    MAGNITUDE,
    UP_BIAS,
    Parts,
    add_part,
    is_text,
    plain,
    take_apart,
    take_idle,
)
from .lora_scale import Scales, stated_scales
from .tensors import read_tensors, refuse_non_finite, write_tensors

EXPECTED = "a LoRA for SD1.5 images"
OF_OUR_FAMILY = "Choose a LoRA of the checkpoint's family."
IN_COMFYUI = "Load it with ComfyUI's Load LoRA on the model that is connected: that is trained on."


@dataclass
class ImageLora:
    """layers: parts by the layers' plain names; paths: those names in the file; notes: of use."""

    layers: dict[str, Parts] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    scales: Scales = field(default_factory=Scales)
    notes: list[str] = field(default_factory=list)


def save_image_lora(
    path: Path | str, pairs: Mapping[str, LowRank], layout: UNetLayout, metadata: Mapping[str, str]
) -> None:
    """Write pairs, by LDM layer, as kohya's LoRA: the form that the most tools load."""
    tensors: dict[str, Tensor] = {}
    for layer, pair in pairs.items():
        name = f"lora_unet_{plain(layout.to_diffusers(layer))}"
        tensors[f"{name}.lora_down.weight"] = pair.down
        tensors[f"{name}.lora_up.weight"] = pair.up
        tensors[f"{name}.alpha"] = torch.tensor(float(pair.rank))
    refuse_non_finite(path, tensors)
    rank = str(max(pair.rank for pair in pairs.values()))
    write_tensors(path, tensors, {"ss_network_dim": rank, "ss_network_alpha": rank, **metadata})


@lets_go
def read_image_lora(path: Path | str) -> ImageLora:
    """Read a file's parts by layer, of any family; text encoders' and temporal layers' are left.

    Raises UserError for another kind of file, an adapter of another arithmetic, or a damaged one.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    refuse_non_finite(path, tensors)
    lora, left = ImageLora(), dict[str, list[str]]()
    for name, tensor in tensors.items():
        key = take_apart(name)
        if key is None or is_text(name) or is_motion(name):
            text = "of the text encoder" if is_text(name) else "of temporal layers"
            left.setdefault(text if key or is_text(name) else "of no LoRA", []).append(name)
            continue
        if key.other:
            raise UserError(path, f"a {key.other} ({name!r})", EXPECTED, IN_COMFYUI)
        layer = plain(key.path)
        add_part(path, lora.layers, layer, key.part, name, tensor)
        lora.paths.setdefault(layer, key.module)
    if idle := take_idle(lora.layers):
        left[IDLE] = [lora.paths[layer] for layer in idle]
    if not lora.layers:
        raise _no_image_lora(path, tensors, left)
    named = [f"{len(names)} tensors {what}, first {names[0]!r}" for what, names in left.items()]
    lora.notes = [f"{path.name}: {'; '.join(named)} left out"] if named else []
    ranks = {lora.paths[n]: r for n, parts in lora.layers.items() if (r := rank_of(parts))}
    lora.scales, notes = stated_scales(path, metadata, tensors, ranks)
    lora.notes += notes
    return lora


def _no_image_lora(
    path: Path, tensors: Mapping[str, Tensor], left: Mapping[str, list[str]]
) -> UserError:
    kind = kind_of(tensors)
    if kind and kind is not IMAGE_LORA:
        return UserError(path, kind.name, EXPECTED, kind.next_move)
    found = " and ".join(f"{len(names)} tensors {what}" for what, names in left.items())
    return UserError(path, f"no layers of an image model ({found})", EXPECTED, "Choose another.")


@lets_go
def merge_image_lora(weights: UNetWeights, path: Path | str, scale: float = 1.0) -> UNetWeights:
    """A UNet with the LoRA of a file in its weights: W + scale * (what the file adds to it).

    Layers of the text encoder are left out. Weights of 8 bits come back in fp16, which holds what
    is added. Raises UserError for another kind of file, for another family, and for forms other
    than LoRA, LoHa, LoKr, DoRA, plain differences and whole weights.
    """
    path = Path(path)
    lora, names = read_image_lora(path), layer_names(weights.layout, weights.tensors)
    strange = [layer for layer in lora.layers if layer not in names]
    if strange:
        raise UserError(
            path, f"{len(strange)} of {len(lora.layers)} layers that are not here, first "
            f"{strange[0]!r}", f"{EXPECTED}, as the checkpoint is ({weights.base})", OF_OUR_FAMILY,
        )  # fmt: skip  # file, found, expected, next move
    merged = dict(weights.tensors)
    for layer in lora.layers:
        for key, changed in _changed(path, lora, layer, names[layer], merged).items():
            own = merged[key]
            mixed = torch.lerp(own.to(wide(own.dtype)), changed, scale) if scale != 1 else changed
            merged[key] = mixed.to(own.dtype if own.dtype.itemsize > 1 else torch.float16)
    return replace(weights, tensors=merged)


def layer_names(layout: UNetLayout, tensors: Mapping[str, object]) -> dict[str, str]:
    """Layers in LDM naming by the plain names that files have for them, LDM's and diffusers'."""
    names = {}
    for key in tensors:
        layer = key.rpartition(".")[0]
        names[plain(layer)] = layer
        names[plain(layout.to_diffusers(layer))] = layer
    return names


def _changed(
    path: Path, lora: ImageLora, layer: str, name: str, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A layer's weight and bias as the file changes them, in fp32, by their keys."""
    parts, file_name = lora.layers[layer], lora.paths[layer]
    weight = tensors[f"{name}.weight"]
    _refuse_other_size(path, name, parts, weight, f"{name}.bias" in tensors)
    changed = {}
    if "set_weight" in parts:
        changed[f"{name}.weight"] = parts["set_weight"].to(wide(weight.dtype))
    elif has_matrix(parts):
        own = weight.to(wide(weight.dtype))
        change = change_of(path, name, file_name, parts, lora.scales, weight.shape).to(own)
        magnitude = parts.get(MAGNITUDE)
        key = f"{name}.weight"
        changed[key] = own + change if magnitude is None else decomposed(own, change, magnitude)
    else:
        refuse_half(path, name, parts)
    for part, leaf in (("w_norm", "weight"), ("b_norm", "bias"), ("diff_b", "bias")):
        if part in parts:
            own = tensors[f"{name}.{leaf}"]
            changed[f"{name}.{leaf}"] = own.to(wide(own.dtype)) + parts[part]
    if UP_BIAS in parts:
        own = tensors[f"{name}.bias"]
        factor = lora.scales.of(path, file_name, rank_of(parts), parts.get(ALPHA))
        changed[f"{name}.bias"] = own.to(wide(own.dtype)) + factor * parts[UP_BIAS].float()
    return changed


def _refuse_other_size(path: Path, name: str, parts: Parts, weight: Tensor, has_bias: bool) -> None:
    """Raise UserError for vectors, magnitudes and whole weights of another layer's size."""
    if not has_bias and {"diff_b", "b_norm", UP_BIAS} & set(parts):
        raise UserError(
            path, f"a LoRA with a bias for {name!r}, which has none", EXPECTED,
            "Train it without biases (lora_bias off), or only on layers that have one.",
        )  # fmt: skip  # file, found, expected, next move
    wanted = dict.fromkeys((*VECTORS, UP_BIAS), weight.shape[:1])
    wanted |= dict.fromkeys(("w_norm", "set_weight"), weight.shape)
    wrong = [part for part in parts if part in wanted and parts[part].shape != wanted[part]]
    if MAGNITUDE in parts and not fits_magnitude(parts[MAGNITUDE], tuple(weight.shape)):
        wrong.append(MAGNITUDE)
    if "reshape_weight" in parts and parts["reshape_weight"].tolist() != list(weight.shape):
        raise UserError(
            path, f"a LoRA that reshapes {name!r} (for inpainting or another model)", EXPECTED,
            OF_OUR_FAMILY,
        )  # fmt: skip  # file, found, expected, next move
    if wrong:
        raise UserError(
            path, f"{wrong[0]} {tuple(parts[wrong[0]].shape)} for {name!r}",
            f"that of a weight {tuple(weight.shape)}", OF_OUR_FAMILY,
        )  # fmt: skip  # file, found, expected, next move
