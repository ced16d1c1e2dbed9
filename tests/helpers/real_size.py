"""Writes files with the real key names and shapes of SD1.5 and its motion modules, random inside.

The table of SD1.5 comes from ComfyUI's own classes, and the motion modules are spelled out here:
neither shares code with the pack, so that the pack can be held against them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

TABLE = Path(__file__).parents[1] / "fixtures" / "sd15_keys.json"
PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "clip": "cond_stage_model.transformer.",
}
# version: (rows of the position tables, whether there is a mid block)
MOTION_MODULES = {"v1": (24, False), "v2": (32, True), "v3": (32, False), "AnimateLCM": (0, True)}
POSITION_IDS = "embeddings.position_ids"


def sd15_shapes(part: str = "unet") -> Shapes:
    """Keys (without prefix) and shapes of one part: "unet" (686), "vae" (248) or "clip" (197)."""
    return {name: tuple(shape) for name, shape in _table()[part].items()}


@cache
def _table() -> dict[str, dict[str, list[int]]]:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def motion_shapes(version: str) -> Shapes:
    """Keys and shapes of a real motion module: v1 and v3 have 560, v2 has 588."""
    frames, has_mid_block = MOTION_MODULES[version]
    places = [
        (f"{side}_blocks.{i}.motion_modules.{j}", c)
        for side, channels, count in (
            ("down", (320, 640, 1280, 1280), 2),
            ("up", (1280, 1280, 640, 320), 3),
        )
        for i, c in enumerate(channels)
        for j in range(count)
    ]
    if has_mid_block:
        places.append(("mid_block.motion_modules.0", 1280))
    return {
        f"{place}.temporal_transformer.{name}": shape
        for place, c in places
        for name, shape in _temporal_transformer(c, frames).items()
    }


def _temporal_transformer(c: int, frames: int) -> Shapes:
    block = "transformer_blocks.0"
    biased = {"proj_in": (c, c), "proj_out": (c, c), "norm": (c,)}
    biased |= {f"{block}.{name}": (c,) for name in ("norms.0", "norms.1", "ff_norm")}
    biased |= {f"{block}.ff.net.0.proj": (8 * c, c), f"{block}.ff.net.2": (c, 4 * c)}
    shapes: Shapes = {}
    for attention in (f"{block}.attention_blocks.0", f"{block}.attention_blocks.1"):
        biased[f"{attention}.to_out.0"] = (c, c)
        shapes |= {f"{attention}.{name}.weight": (c, c) for name in ("to_q", "to_k", "to_v")}
        if frames:
            shapes[f"{attention}.pos_encoder.pe"] = (1, frames, c)
    for name, shape in biased.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def write_sd15(
    path: Path | str, *, seed: int, parts: Sequence[str] = ("unet", "vae", "clip")
) -> None:
    """A full single-file SD1.5 checkpoint in fp16 (2.1 GB with all parts)."""
    shapes = {PREFIXES[p] + name: shape for p in parts for name, shape in sd15_shapes(p).items()}
    write_random(path, shapes, seed=seed)


def write_motion_module(path: Path | str, version: str, *, seed: int) -> None:
    """An AnimateDiff motion module in fp16 (0.8 to 0.9 GB); version: a key of MOTION_MODULES."""
    write_random(path, motion_shapes(version), seed=seed)


def write_random(path: Path | str, shapes: Shapes, *, seed: int) -> None:
    """A safetensors file of such random fp16 tensors that a forward stays finite.

    Position tables are in fp32: who reads them from the file must find what others compute.

    Written tensor by tensor, so that memory holds no more than the largest one.
    """
    header, end = {}, 0
    for name, shape in shapes.items():
        whole = name.endswith(POSITION_IDS)
        dtype, size = ("I64", 8) if whole else ("F32", 4) if name.endswith(".pe") else ("F16", 2)
        start, end = end, end + math.prod(shape) * size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    generator = torch.Generator().manual_seed(seed)
    half = Path(path).with_suffix(".half")  # whoever is killed leaves no half of a file
    with half.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, shape in shapes.items():
            tensor = random_tensor(name, shape, generator)
            if not name.endswith((POSITION_IDS, ".pe")):
                tensor = tensor.half()
            file.write(tensor.contiguous().numpy().data)
    half.replace(path)


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights of variance 1 / fan-in, norms of 1, small biases, sinusoid positions."""
    if name.endswith(POSITION_IDS):
        return torch.arange(shape[-1]).expand(shape)
    if name.endswith(".pe"):
        return sinusoid(*shape[1:])
    if name.endswith("embedding.weight"):
        return 0.02 * torch.randn(shape, generator=generator)
    if len(shape) == 1:
        if name.endswith(".weight"):
            return torch.ones(shape)
        return 0.01 * torch.randn(shape, generator=generator)
    return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))


def sinusoid(frames: int, channels: int) -> Tensor:
    """AnimateDiff's position table: (1, frames, channels)."""
    angles = torch.arange(frames)[:, None] * torch.exp(
        torch.arange(0, channels, 2) * (-math.log(10000.0) / channels)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(1, frames, channels)


def hollow(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory: enough for whoever reads names and shapes."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
