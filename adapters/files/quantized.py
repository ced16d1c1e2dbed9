"""Weights that files keep in 8 bits: floats are widened exactly, others refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
# ComfyUI's older and newer names for what a layer's weights are multiplied by, its input, its form.
_SCALES = (".scale_weight", ".weight_scale")
_ASIDE = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
_OTHERS = re.compile(
    r".*\.(?:absmax|quant_map|quant_state\..*|SCB|qweight|qzeros|scales|weight_scale_2|wscales"
    r"|nested_absmax|g_idx|weight_format)"
)
NEXT_MOVE = "Use the checkpoint in fp16, bf16, fp32 or fp8."


def widened(path: Path | str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with fp8 as fp16, and with its scales as fp32: the numbers that ComfyUI samples.

    tensors: of one network. fp16 holds every number of both fp8 formats. Raises UserError for
    other quantized forms, by their names.
    """
    _refuse_others(path, tensors)
    scales = {
        f"{name.removesuffix(end)}.weight": scale
        for name, scale in tensors.items()
        for end in _SCALES
        if name.endswith(end)
    }
    wide: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith((*_SCALES, *_ASIDE)):
            continue
        if name in scales and scales[name].numel() == 1:
            tensor = tensor.float() * scales[name].float().reshape(())
        elif tensor.dtype in FP8:
            tensor = tensor.half()
        wide[name] = tensor
    return wide


def is_packed(tensor: Tensor) -> bool:
    """Whether a tensor has two numbers in a byte (safetensors' F4), which torch cannot compute."""
    return str(tensor.dtype).startswith("torch.float4")


def _refuse_others(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    found = next((name for name in tensors if _OTHERS.fullmatch(name)), None)
    for name, tensor in tensors.items():
        if name.endswith(".comfy_quant") and not _is_fp8(tensor):
            found = name
        if name.endswith(".weight") and tensor.dtype in (torch.int8, torch.uint8):
            found = name
        if is_packed(tensor):
            found = name
        if name.endswith(_SCALES) and tensor.numel() != 1:
            found = name
    if found is not None:
        raise UserError(
            path, f"a quantized checkpoint (first {found!r})", "weights in floating point",
            NEXT_MOVE,
        )  # fmt: skip  # file, found, expected, next move


def _is_fp8(settings: Tensor) -> bool:
    """Whether ComfyUI's settings of a layer, JSON in bytes, say fp8."""
    try:
        format_ = json.loads(bytes(settings.to(torch.uint8).tolist()))["format"]
    except (ValueError, KeyError, TypeError, RuntimeError):
        return False
    return str(format_).startswith("float8")
