"""Small LoRA files and embeddings of every tool, and what can happen to them: all drawn by dice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.small_files import SHAPES_LAYOUT, UNET_SHAPES, motion_layers, spellings

Tensors = dict[str, Tensor]
RANK = 2
CONFIG = "adapter_config.json"
TEMPORAL = motion_layers()[:4]
SPATIAL = [
    name.removesuffix(".weight")
    for name, shape in UNET_SHAPES.items()
    if name.endswith(".weight") and len(shape) > 1
][::9]


class Drawn(NamedTuple):
    """A whole file: its tensors and metadata, and what lies beside it."""

    tensors: Tensors
    metadata: dict[str, str]
    beside: dict[str, str]


def drawn_file(dice: Random) -> Drawn:
    """A file of some tool, whole."""
    draw = dice.choice([_lora, _lora, _loha, _lokr, _image, _image, _embedding])
    drawn = Drawn(draw(dice), {}, {})
    config = {"r": RANK, "lora_alpha": dice.choice([1, 8, 0.5]), "use_rslora": dice.random() < 0.5}
    config["alpha_pattern"] = {dice.choice(["to_q", "^x", r".*\.to_k", "attn1.to_v"]): 3}
    if dice.random() < 0.3:
        drawn.metadata["lora_adapter_metadata"] = json.dumps(config)
    if dice.random() < 0.5:
        drawn.beside[CONFIG] = json.dumps(config)
    return drawn


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape) / 4


def _lora(dice: Random) -> Tensors:
    form, tensors = dice.choice(list(spellings(TEMPORAL[0]))), {}
    for layer in TEMPORAL:
        down, up = spellings(layer)[form]
        tensors |= {down: _numbers(RANK, 64), up: _numbers(64, RANK)}
    return tensors


def _loha(_dice: Random) -> Tensors:
    parts = {"hada_w1_a": (64, 2), "hada_w1_b": (2, 64), "hada_w2_a": (64, 2), "hada_w2_b": (2, 64)}
    return {f"{layer}.{p}": _numbers(*shape) for layer in TEMPORAL for p, shape in parts.items()}


def _lokr(_dice: Random) -> Tensors:
    parts = {"lokr_w1": (4, 4), "lokr_w2_a": (16, 2), "lokr_w2_b": (2, 16)}
    return {f"{layer}.{p}": _numbers(*shape) for layer in TEMPORAL for p, shape in parts.items()}


def _image(_dice: Random) -> Tensors:
    tensors = {}
    for layer in SPATIAL:
        out, *inside = UNET_SHAPES[f"{layer}.weight"]
        name = "lora_unet_" + SHAPES_LAYOUT.to_diffusers(layer).replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = _numbers(RANK, *inside)
        tensors[f"{name}.lora_up.weight"] = _numbers(out, RANK, *[1] * (len(inside) - 1))
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    return tensors


def _embedding(dice: Random) -> Tensors:
    rows = _numbers(2, 768)
    forms = [{"emb_params": rows}, {"string_to_param.*": rows}, {"<cat>": rows[0]}]
    return dice.choice([*forms, {"clip_l": rows, "clip_g": _numbers(2, 1280)}])


class Change(NamedTuple):
    """What happens to a file; whole: nothing is missing or broken after it."""

    act: Callable[[Drawn, str, Random], None]
    whole: bool


def _set(make: Callable[[Tensor, Random], Tensor], whole: bool) -> Change:
    def act(drawn: Drawn, key: str, dice: Random) -> None:
        drawn.tensors[key] = make(drawn.tensors[key], dice)

    return Change(act, whole)


def _add(make: Callable[[str, Random], tuple[str, Tensor]], whole: bool) -> Change:
    """Another tensor beside one: its name without what comes after the layer, and its numbers."""

    def act(drawn: Drawn, key: str, dice: Random) -> None:
        end, tensor = make(key, dice)
        layer = key.partition("_lora.")[0].partition(".lora_")[0].partition(".hada_")[0]
        drawn.tensors[layer.partition(".lokr_")[0] + end] = tensor

    return Change(act, whole)


def _dropped(drawn: Drawn, key: str, _dice: Random) -> None:
    if len(drawn.tensors) > 1:
        del drawn.tensors[key]


def _renamed(drawn: Drawn, key: str, dice: Random) -> None:
    at = dice.randrange(len(key))
    drawn.tensors[key[:at] + dice.choice(["x", "", ".", "_1"]) + key[at + 1 :]] = drawn.tensors.pop(
        key
    )


def _twice(drawn: Drawn, key: str, _dice: Random) -> None:
    drawn.tensors[f"base_model.model.{key}"] = drawn.tensors[key].clone()


def _with_text(drawn: Drawn, _key: str, _dice: Random) -> None:
    drawn.tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = _numbers(4, 2)


def _config(value: Callable[[Random], str]) -> Change:
    def act(drawn: Drawn, _key: str, dice: Random) -> None:
        text = value(dice)
        drawn.beside[CONFIG] = text
        if dice.random() < 0.7:
            drawn.metadata["lora_adapter_metadata"] = text

    return Change(act, True)


RUBBISH = [
    "", "[]", "3", "null", '{"r": "x"', '{"lora_alpha": "much"}', '{"lora_alpha": NaN}',
    '{"lora_alpha": 1e999, "r": 0}', '{"alpha_pattern": {"(a+)+$": 1}}', "[" * 5000,
    '{"alpha_pattern": {"[": 2}}', '{"rank_pattern": 3, "alpha_pattern": [1], "lora_alpha": true}',
    '{"init_lora_weights": "pissa_niter_4", "lora_alpha": 2}', '{"use_rslora": 5}', "{}",
    '{"unet.lora_alpha": {}, "unet.r": []}', '{"peft_type": "LORA", "kasa_config": {"a": 1}}',
]  # fmt: skip  # texts that are no config
ODD = [(0,), (1, 1), (3,), (RANK, 64, 2, 2), (64, 1, 1), (1, 64), (5, 7), ()]
DTYPES = [torch.int32, torch.bool, torch.complex64, torch.uint8]
FLOATS = [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
CHANGES: dict[str, Change] = {
    "nothing": Change(lambda *_: None, True),
    "half dropped": Change(_dropped, False),
    "renamed": Change(_renamed, False),
    "odd shape": _set(lambda _t, dice: torch.ones(dice.choice(ODD)), False),
    "transposed": _set(lambda t, _: t.transpose(0, -1).contiguous() if t.ndim else t, False),
    "no floats": _set(lambda t, dice: t.to(dice.choice(DTYPES)), False),
    "other floats": _set(lambda t, dice: t.to(dice.choice(FLOATS)), True),
    "no number": _set(lambda t, dice: t / 0 if dice.random() < 0.5 else t * float("nan"), False),
    "twice": Change(_twice, True),
    "odd alpha": _add(lambda _, dice: (".alpha", torch.ones(dice.choice(ODD))), True),
    "complex alpha": _add(lambda *_: (".alpha", torch.tensor(1j)), True),
    "magnitudes": _add(lambda _, d: (".dora_scale", torch.ones(d.choice(ODD))), False),
    "right magnitudes": _add(lambda *_: (".dora_scale", torch.ones(64, 1)), False),
    "bias": _add(lambda _, d: (".lora_B.bias", torch.ones(d.choice([64, 3]))), False),
    "middle": _add(lambda *_: (".lora_mid.weight", torch.ones(2, 2, 3, 3)), False),
    "AdaLoRA": _add(lambda *_: (".lora_E", torch.ones(2, 1)), True),
    "OFT": _add(lambda *_: (".oft_blocks", torch.ones(2, 2, 2)), True),
    "norm": _add(lambda *_: (".w_norm", torch.ones(64)), True),
    "text encoder": Change(_with_text, True),
    "rubbish config": _config(lambda dice: dice.choice(RUBBISH)),
    "other ranks": _config(lambda _: json.dumps({"r": 77, "lora_alpha": 3})),
}


def cut(data: bytes, dice: Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flipped(data: bytes, dice: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(min(len(changed), dice.choice([9, 600, 10**9])))] ^= dice.randint(
            1, 255
        )
    return bytes(changed)


def write_drawn(path: Path, drawn: Drawn, dice: Random) -> None:
    """As safetensors, or as torch writes it, with what lies beside."""
    from still_moving.adapters.files.tensors import write_tensors

    if dice.random() < 0.3:
        torch.save({"state_dict": drawn.tensors} if dice.random() < 0.5 else drawn.tensors, path)
    else:
        write_tensors(path, drawn.tensors, drawn.metadata)
    for name, text in drawn.beside.items():
        (path.parent / name).write_text(text, encoding="utf-8")
