"""LoRAs of a world's image model: put on it, and written as kohya's trainer does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import nn

from ..adapters.files.tensors import write_tensors
from ..common import files

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("conv1", "conv2")  # of the residual blocks: edges, fills, colours


def with_lora(model: Any, rank: int, layers: Sequence[str] = ATTENTION) -> Any:
    """The image model, frozen, with an untrained LoRA on the layers whose names end so."""
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers)))
    return model


def save_lora(path: Path, model: nn.Module, description: str) -> None:
    """Write an image model's LoRA in the naming of kohya's trainer, fp16."""
    tensors = {}
    for name, value in model.state_dict().items():
        for part, saved in (("lora_A", "lora_down"), ("lora_B", "lora_up")):
            if name.endswith(f".{part}.default.weight"):
                layer = name.removesuffix(f".{part}.default.weight").replace(".", "_")
                tensors[f"lora_unet_{layer}.{saved}.weight"] = value.half().cpu()
                if part == "lora_A":
                    tensors[f"lora_unet_{layer}.alpha"] = torch.tensor(float(len(value)))
    files.make_folder(path.parent)
    write_tensors(path, tensors, {"description": description})
