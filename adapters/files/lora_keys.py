"""A key of a LoRA file, taken apart: which layer of which network, and which part of its change.

Covers the spellings of AnimateDiff, MotionDirector (animatediff/utils/lora.py), loralib, diffusers,
peft, kohya's sd-scripts, LyCORIS, OneTrainer and ComfyUI (comfy/lora.py, comfy/weight_adapter).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from ...common.errors import UserError

Parts = dict[str, Tensor]  # of one layer, by the names below

DOWN, UP, ALPHA, MAGNITUDE, UP_BIAS = "down", "up", "alpha", "magnitude", "up_bias"
IDLE = "of layers that are not changed (an alpha alone, or rank 0)"  # to call what is left out
_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
_PLAIN = ("diff", "diff_b", "set_weight", "w_norm", "b_norm", "reshape_weight")
# Adapters of other arithmetic, by the ends of their keys: told by name, and not read.
_OTHERS = {
    "AdaLoRA": r"\.lora_E|\.ranknum",
    "BOFT": r"\.boft_[Rs]",
    "C3A": r"\.c3a_kernel",
    "DeLoRA": r"\.delora_\w+",
    "FourierFT": r"\.fourierft_spectrum",
    "GLoRA": r"\.[ab][12]\.weight",
    "HRA": r"\.hra_u",
    "IA3": r"\.on_input|\.ia3_l",
    "KaSA": r"\.lora_diag",
    "LoHa with sparse biases": r"\.bias_(?:indices|values|size)",
    "MiSS": r"\.(?:bone|miss)_block",
    "OFT": r"\.oft_(?:blocks|R|diag)|\.rescale",
    "RandLoRA": r"\.randlora_\w+",
    "RoAd": r"\.road_\w+",
    "SHiRA": r"\.shira_\w+",
    "VB-LoRA": r"\.vblora_\w+",
    "VeRA": r"\.vera_\w+",
}
_NAME = r"(?:\.(?!weight\b|bias\b)[^.]+)?"  # peft's name of the adapter
_LORA = r"[._]lora[._](?:linear_layer[._])?"
_END = re.compile(
    rf"{_LORA}(?:(?P<down>down|A)|(?P<up>up|B)|(?P<mid>mid))(?:{_NAME}\.weight)?"
    rf"|{_LORA}(?P<up_bias>up|B){_NAME}\.bias"
    rf"|(?P<magnitude>\.dora_scale|[._]lora_magnitude_vector){_NAME}(?:\.weight)?"
    r"|(?:[._]lora)?\.(?P<alpha>alpha)"
    rf"|\.(?P<own>{'|'.join((*_LOHA, *_LOKR))}){_NAME}"
    rf"|\.(?P<plain>{'|'.join(_PLAIN)})"
    rf"|(?P<other>{'|'.join(f'(?:{ends})' for ends in _OTHERS.values())}){_NAME}(?:\.weight)?"
)
_PREFIX = re.compile(
    r"(?:(?:module|pipe|motion_module|weights|lora)\.|base_model[._]model[._]|lora_unet_+|lycoris_|unet[._]|(?:model[._])?diffusion_model[._]"
    r"|(?:lora_)?transformer[._](?!blocks))+"
)
_PEFT_MODEL = re.compile(r"base_model[._]model[._]")
_TEXT = re.compile(
    r"(?:base_model\.model\.)?(?:lora_(?:prior_)?te\d*_|text_encoders?[._\d]|text_model[._]|te\d*\.)"
)
_BUNDLED = "bundle_emb."
_OTHER_ENDS = "|".join(ends for name, ends in _OTHERS.items() if name != "GLoRA")
_TELLING = re.compile(  # an end that nothing but a LoRA has: an alpha or a bias alone tells nothing
    rf".+(?:{_LORA}(?:down|up|A|B)(?:{_NAME}\.weight)?|[._]lora_magnitude_vector.*|\.dora_scale"
    rf"|\.(?:{'|'.join((*_LOHA, *_LOKR))}){_NAME}|\.(?:diff|diff_b|w_norm|set_weight)"
    rf"|(?:{_OTHER_ENDS}){_NAME}(?:\.weight)?"
    r")|(?:lora_unet|lycoris)_.+\.[ab][12]\.weight"
)


class Key(NamedTuple):
    """path: the layer as the file names it, without prefixes; part: of the change; "" for others.

    other: the name of an adapter of another arithmetic; module: the layer as peft's patterns see
    it, inside the network that peft wrapped.
    """

    path: str
    part: str
    other: str = ""
    module: str = ""


def is_telling(name: str) -> bool:
    """Whether a file with this key holds low-rank adapters, or relatives of them."""
    return _TELLING.fullmatch(name) is not None


def is_text(name: str) -> bool:
    """Whether a key is for a text encoder, or an embedding that came along."""
    return _TEXT.match(name) is not None or name.startswith(_BUNDLED)


def take_apart(name: str) -> Key | None:
    """The layer and the part that a key is for; None for a key of no known form."""
    match = re.fullmatch(rf"(?P<path>.+?)(?:{_END.pattern})", name)
    if match is None:
        return None
    path = _PREFIX.sub("", match["path"], count=1) if _PREFIX.match(name) else match["path"]
    module = _PEFT_MODEL.sub("", match["path"], count=1)
    if match["other"]:
        other = next(n for n, ends in _OTHERS.items() if re.fullmatch(ends, match["other"]))
        return Key(path, "", other, module)
    part = match["own"] or match["plain"]
    groups = (DOWN, UP, "mid", UP_BIAS, MAGNITUDE, ALPHA)
    part = part or next(group for group in groups if match[group])
    return Key(path, part, module=module)


def plain(path: str) -> str:
    """A layer's name with underscores for dots, in which kohya's names and all others are equal."""
    name = path.replace(".", "_").replace("_processor_", "_")
    return f"{name}_0" if name.endswith("_to_out") else name


def form_of(parts: Iterable[str]) -> str:
    """What people call a change that has these parts."""
    names = set(parts)
    for form, own in (("LoHa", _LOHA), ("LoKr", _LOKR), ("LoRA", (DOWN, UP))):
        if names & set(own):
            with_bias = "LoRA with biases" if form == "LoRA" and UP_BIAS in names else form
            return "DoRA" if MAGNITUDE in names else with_bias
    return "full difference"


def add_part(
    file: object, layers: dict[str, Parts], layer: str, part: str, key: str, tensor: Tensor
) -> None:
    """Enter one tensor of a layer. Raises UserError where that part is there already."""
    if part in layers.setdefault(layer, {}):
        raise UserError(
            str(file), f"{part!r} of {layer!r} twice, the second time as {key!r}",
            "each layer once",
            "It holds two adapters, or one in two spellings: save it with one of them.",
        )  # fmt: skip  # file, found, expected, next move
    # peft's are one a row, stored as (out), and of a convolution as (1, out, 1, 1).
    rows = part == MAGNITUDE and "lora_magnitude_vector" in key
    layers[layer][part] = tensor.reshape(-1, 1) if rows else tensor


def take_idle(layers: dict[str, Parts]) -> list[str]:
    """Take out the layers that change nothing, and name them: an alpha alone, or rank 0."""

    def is_idle(parts: Parts) -> bool:
        if DOWN in parts and UP in parts:
            return parts[DOWN].shape[:1] == (0,) and parts[UP].shape[1:2] == (0,)
        return set(parts) == {ALPHA}

    idle = [layer for layer, parts in layers.items() if is_idle(parts)]
    for layer in idle:
        del layers[layer]
    return idle


def forms_in(layers: Mapping[str, Parts]) -> list[str]:
    """The forms of a file's layers, each once."""
    return sorted({form_of(parts) for parts in layers.values()})
