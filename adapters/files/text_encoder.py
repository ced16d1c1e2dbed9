"""The CLIP text encoder among a file's tensors, in each of the layouts that ComfyUI reads.

`cond_stage_model.transformer.` with or without `text_model.`, ComfyUI's and diffusers' own
prefixes, sgm's `conditioner.embedders.`, a CLIP alone, and OpenAI's naming
(`transformer.resblocks.`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError
from .quantized import widened
from .tensors import AGAIN, refuse_wrong_names

TABLE = "embeddings.token_embedding.weight"
_OPENAI = "token_embedding.weight"
WIDTH = 768  # of SD1.5's
HEAD = 64  # channels of an attention head
LAYERS, WORDS, POSITIONS = 12, 49408, (77, 248)  # SD1.5's; LongCLIP (arXiv:2403.15378) has more
OTHERS = {1024: "SD2's text encoder", 1280: "SDXL's second text encoder"}  # by width
NEXT_MOVE = "Name the SD1.5 file that the text encoder is in."
# comfy/utils.py: transformers_convert.
_RENAMED = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": TABLE,
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_INSIDE = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def text_tensors(path: Path | str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SD1.5's text encoder, named from `embeddings.` on; fp8 is widened.

    Raises UserError for a file without one, or with another family's.
    """
    widths: dict[str, int] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and name.endswith(_OPENAI):
            prefix = name.removesuffix(TABLE if name.endswith(TABLE) else _OPENAI)
            widths[prefix] = tensor.shape[1]
    own = [prefix for prefix, width in widths.items() if width not in OTHERS]
    if not own:
        other = next((OTHERS[width] for width in widths.values()), None)
        raise UserError(
            path, f"{other} ({next(iter(widths.values()))} wide)" if other
            else "no CLIP text encoder in it",
            "a whole SD1.5 checkpoint, or its CLIP", NEXT_MOVE,
        )  # fmt: skip  # subject, found, expected, next move
    prefix = next((p for p in own if widths[p] == WIDTH), own[0])
    found = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    found = widened(path, found)
    return found if TABLE in found else _from_openai(path, found)


def refuse_other_clip(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError unless these are a CLIP text encoder's weights, whole and of their shapes.

    tensors: named from `embeddings.` on. Of SD1.5's it may have fewer than 12 layers (ComfyUI's
    CLIP Set Last Layer leaves out the last), 248 positions (LongCLIP) and more words.
    """
    if "head.attention.in_proj_weight" in tensors or "head.weight" in tensors:
        raise UserError(path, "SigLIP's text encoder", "SD1.5's CLIP", NEXT_MOVE)
    own = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(("embeddings.", "encoder.", "final_layer_norm."))
        and not name.endswith("position_ids")
    }
    refuse_wrong_names(path, own, _clip_shapes(path, own), "SD1.5's CLIP text encoder")


def _clip_shapes(path: Path | str, own: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    words, width = own[TABLE].shape
    positions = own.get("embeddings.position_embedding.weight")
    length = len(positions) if positions is not None and positions.ndim else POSITIONS[0]
    inner = 4 * WIDTH
    if width == WIDTH:
        words = max(words, WORDS)
        length = length if length in POSITIONS else POSITIONS[0]
    else:  # another world's, of any number of heads
        first = own.get("encoder.layers.0.mlp.fc1.weight")
        inner = len(first) if first is not None and first.ndim else 4 * width
    if not words or length < 3 or not width or width % HEAD:
        found = f"a text encoder {width} wide with {words} words and {length} places"
        raise UserError(path, found, "SD1.5's CLIP text encoder", NEXT_MOVE)
    numbers = {int(m[1]) for name in own if (m := re.match(r"encoder\.layers\.(\d{1,3})\.", name))}
    count = 1 + max((number for number in numbers if number < LAYERS), default=LAYERS - 1)
    linear = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}
    shapes = {TABLE: (words, width), "embeddings.position_embedding.weight": (length, width)}
    inside = {f"{name}.weight": shape for name, shape in linear.items()}
    inside |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    norms = {f".{end}": (width,) for end in ("weight", "bias")}
    inside |= {f"layer_norm{i}{end}": shape for i in (1, 2) for end, shape in norms.items()}
    for layer in range(count):
        shapes |= {f"encoder.layers.{layer}.{name}": shape for name, shape in inside.items()}
    return shapes | {f"final_layer_norm{end}": shape for end, shape in norms.items()}


def _from_openai(path: Path | str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, tensor in found.items():
        block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)(?:\.|_)(weight|bias)", name)
        if name in _RENAMED:
            named[_RENAMED[name]] = tensor
        elif block and block[2] == "attn.in_proj":
            if not tensor.ndim or tensor.shape[0] % 3:
                raise UserError(
                    path, f"{tuple(tensor.shape)} as {name!r}", "queries, keys and values in one",
                    f"The file is damaged or of another kind. {AGAIN}",
                )  # fmt: skip  # file, found, expected, next move
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                place = f"encoder.layers.{block[1]}.self_attn.{part}_proj.{block[3]}"
                named[place] = third
        elif block and block[2] in _INSIDE:
            named[f"encoder.layers.{block[1]}.{_INSIDE[block[2]]}.{block[3]}"] = tensor
    return named
