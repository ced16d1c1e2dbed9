"""The image UNet of a checkpoint file: recognise SD1.5, refuse the others by name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError, lets_go
from ...worlds.known import WORLDS
from .keys import SD15, UNetLayout
from .prediction import Prediction, stated_prediction
from .templates import unet_shapes
from .tensors import file_hash, read_tensors, refuse_non_finite, refuse_wrong_names
from .unet_names import EXPECTED, NEXT_MOVE, WORLD_LAYOUT, extract_unet

# The width of the text that cross-attention reads tells the families apart.
CONTEXTS = {1024: "an SD2 {}", 1280: "an SDXL refiner", 2048: "an SDXL {}"}
# SD1.5's first layer reads latents alone; models made from it may read pictures beside them.
CHANNELS_IN = 4
# Layers of models that extend it, by a part of their names.
EXTENDED = {
    ".time_stack.": "a Stable Video Diffusion checkpoint",
    ".temopral_conv.": "a ModelScope video checkpoint",  # so spelled there
    ".fuser.": "a GLIGEN checkpoint (it reads boxes)",
    "cond_proj.": "an LCM checkpoint that reads its guidance",
    ".to_k_ip.": "a checkpoint with IP-Adapter's layers in it",
}
MORE_CHANNELS = {9: "an inpainting {}", 8: "an InstructPix2Pix {}"}

# (channels of the first level, text width) -> (base, layout, channels of each level / the first's)
BASES = {
    (320, 768): ("sd15", SD15, (1, 2, 4, 4)),
    **{
        (world.channels[0], world.words.dim): (world.name, WORLD_LAYOUT, world.multiples)
        for world in WORLDS.values()
    },
}


@dataclass(frozen=True, eq=False)
class UNetWeights:
    """An image UNet's tensors in LDM naming without prefix.

    Their dtype is the file's, but fp8 is widened. base: "sd15" or a world's name; hash:
    sha256 of the file; name: the file's name; prediction: what the file says that it predicts,
    None where it says nothing; notes: what to say of how it was read.
    """

    tensors: dict[str, Tensor]
    layout: UNetLayout
    base: str
    hash: str
    name: str
    prediction: Prediction | None = None
    notes: tuple[str, ...] = ()


@lets_go
def read_unet(path: Path | str) -> UNetWeights:
    """Read the UNet of a single-file checkpoint or UNet file; raises UserError for others."""
    path = Path(path)
    if os.path.isdir(path):
        raise UserError(
            path, "a folder (of diffusers?)", f"{EXPECTED} in one file",
            "Choose a single file: in a folder of diffusers it is in unet/.",
        )  # fmt: skip  # file, found, expected, next move
    tensors, metadata = read_tensors(path)
    unet, notes = extract_unet(path, tensors)
    layout, base = recognize(path, unet)
    refuse_non_finite(path, unet)
    said = stated_prediction(path, tensors, metadata)
    return UNetWeights(unet, layout, base, file_hash(path), path.name, said, tuple(notes))


def recognize(path: Path | str, unet: Mapping[str, Tensor]) -> tuple[UNetLayout, str]:
    """(layout, "sd15" or a world's name) of UNet tensors in LDM naming, by names and shapes alone.

    Raises UserError for another model, by its name, and for keys that are missing, unexpected or
    of a wrong shape.
    """
    path = Path(path)
    _refuse_shard(path, unet)
    conv_in = unet.get("input_blocks.0.0.weight")
    width = conv_in.shape[0] if conv_in is not None and conv_in.ndim == 4 else 0
    context = _context_width(unet)
    _refuse_relatives(path, unet, context)
    if (width, context) not in BASES:
        found = f"a UNet with {width or 'no'} channels that reads text {context} wide"
        raise UserError(path, found, f"{EXPECTED} (320 channels, text 768 wide)", NEXT_MOVE)
    base, layout, multiples = BASES[width, context]
    _refuse_fewer_layers(path, unet, layout)
    refuse_wrong_names(path, unet, unet_shapes(layout, width, multiples, context), EXPECTED)
    return layout, base


def fingerprint(unet: Mapping[str, Tensor]) -> str:
    """Tells one image UNet from another by a few of its numbers, whatever file they come from.

    unet: tensors in LDM naming. The same for fp32 and fp16 copies; two checkpoints that differ
    only in layers that no customization leaves alone are told apart.
    """
    digest = hashlib.sha256()
    for name in sorted(unet):
        if name == "input_blocks.0.0.weight" or name.endswith("attn2.to_q.weight"):
            digest.update(unet[name].detach()[:2].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _context_width(unet: Mapping[str, Tensor]) -> int:
    """Width of the text that cross-attention reads; 0 without cross-attention."""
    pattern = r"input_blocks\.\d+\.1\.transformer_blocks\.0\.attn2\.to_k\.weight"
    widths = [t.shape[-1] for k, t in unet.items() if t.ndim == 2 and re.fullmatch(pattern, k)]
    return widths[0] if widths else 0


def relative_of(channels_in: int, context: int, kind: str) -> str | None:
    """A relative of SD1.5 by its name; None for what may be SD1.5, or is something else.

    channels_in: that its first layer reads; context: its text's width; kind: "checkpoint" for a
    file, "model" for a MODEL.
    """
    if context in CONTEXTS:
        return CONTEXTS[context].format(kind)
    if channels_in == CHANNELS_IN:
        return None
    name = MORE_CHANNELS.get(channels_in, "a {}").format(kind)
    return f"{name} ({channels_in} input channels)"


def _refuse_relatives(path: Path, unet: Mapping[str, Tensor], context: int) -> None:
    conv_in = unet.get("input_blocks.0.0.weight")
    channels_in = conv_in.shape[1] if conv_in is not None and conv_in.ndim == 4 else CHANNELS_IN
    found = relative_of(channels_in, context, "checkpoint")
    extended = next((name for key, name in EXTENDED.items() if any(key in k for k in unet)), None)
    if extended is not None:
        found = extended
    elif context not in CONTEXTS and any(name.startswith("label_emb.") for name in unet):
        found = "an SDXL checkpoint"
    if found is not None:
        raise UserError(path, found, f"{EXPECTED} with {CHANNELS_IN} input channels", NEXT_MOVE)


def _refuse_shard(path: Path, unet: Mapping[str, Tensor]) -> None:
    """One of the files that transformers and diffusers split a large model into is no whole one."""
    ends = ("input_blocks.0.0.weight", "out.2.weight")
    if re.search(r"-\d+-of-\d+\.", path.name) and not all(end in unet for end in ends):
        raise UserError(
            path, "one part of a model in several files", f"{EXPECTED} in one file",
            "Join them: load the folder with diffusers, and save it with a larger max_shard_size.",
        )  # fmt: skip  # file, found, expected, next move


def _refuse_fewer_layers(path: Path, unet: Mapping[str, Tensor], layout: UNetLayout) -> None:
    """A UNet from which whole blocks were distilled away is no damaged one."""
    gone = [
        name
        for name, _, kind in layout.blocks()
        if kind != "conv" and not any(key.startswith(f"{name}.") for key in unet)
    ]
    if gone:
        raise UserError(
            path, f"a UNet without {len(gone)} of its blocks, first {gone[0]!r} (distilled, such as"
            " BK-SDM, small-sd or tiny-sd)",
            EXPECTED, NEXT_MOVE,
        )  # fmt: skip  # file, found, expected, next move
