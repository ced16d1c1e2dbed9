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

TABLE = "embeddings.token_embedding.weight"
_OPENAI = "token_embedding.weight"
WIDTH = 768  # of SD1.5's
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
    return found if TABLE in found else _from_openai(found)


def _from_openai(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, tensor in found.items():
        block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)(?:\.|_)(weight|bias)", name)
        if name in _RENAMED:
            named[_RENAMED[name]] = tensor
        elif block and block[2] == "attn.in_proj":
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                place = f"encoder.layers.{block[1]}.self_attn.{part}_proj.{block[3]}"
                named[place] = third
        elif block and block[2] in _INSIDE:
            named[f"encoder.layers.{block[1]}.{_INSIDE[block[2]]}.{block[3]}"] = tensor
    return named
