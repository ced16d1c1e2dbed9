"""One layer's name in LDM (ComfyUI), diffusers and AnimateDiff files, both ways.

LDM names carry no `model.diffusion_model.` prefix. Every function takes a tensor's name (ending in
.weight or .bias) or a bare layer's name, and raises KeyError, naming the key, for any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

LEAF = r"(?P<leaf>\.weight|\.bias)?"
# (LDM, diffusers) names inside one residual block.
RESNET = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)
TOP = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
# A spatial transformer's inside has the same names in both.
TRANSFORMER = (
    r"norm|proj_in|proj_out|transformer_blocks\.\d+"
    r"(?:\.(?:attn[12](?:\.to_[qkv]|\.to_out(?:\.0)?)?|ff(?:\.net\.0\.proj|\.net\.2)?|norm[123]))?"
)


@dataclass(frozen=True)
class UNetLayout:
    """The shape of a UNet's tree: enough to name every spatial layer.

    levels: resolutions, each half of the one before; layers_per_block: residual blocks per level
    on the way down (one more on the way up); attention: per level, finest first.
    """

    levels: int
    layers_per_block: int
    attention: tuple[bool, ...]

    def to_ldm(self, diffusers_key: str) -> str:
        return _rename(diffusers_key, self._ldm_names)

    def to_diffusers(self, ldm_key: str) -> str:
        return _rename(ldm_key, self._diffusers_names)

    def blocks(self) -> list[tuple[str, str, str]]:
        """Every block as (LDM name, diffusers name, "resnet" | "transformer" | "conv")."""
        step, blocks = self.layers_per_block + 1, []
        for level in range(self.levels):
            down, up, depth = (
                f"down_blocks.{level}",
                f"up_blocks.{level}",
                self.levels - 1 - level,
            )
            last = level == self.levels - 1
            for i in range(self.layers_per_block):
                name = f"input_blocks.{1 + level * step + i}"
                blocks.append((f"{name}.0", f"{down}.resnets.{i}", "resnet"))
                if self.attention[level]:
                    blocks.append((f"{name}.1", f"{down}.attentions.{i}", "transformer"))
            for i in range(step):
                name = f"output_blocks.{level * step + i}"
                blocks.append((f"{name}.0", f"{up}.resnets.{i}", "resnet"))
                if self.attention[depth]:
                    blocks.append((f"{name}.1", f"{up}.attentions.{i}", "transformer"))
            if not last:
                name = f"input_blocks.{(level + 1) * step}.0.op"
                blocks.append((name, f"{down}.downsamplers.0.conv", "conv"))
                # The upsampler comes after the transformer, where the level has one.
                slot = 2 if self.attention[depth] else 1
                name = f"output_blocks.{(level + 1) * step - 1}.{slot}.conv"
                blocks.append((name, f"{up}.upsamplers.0.conv", "conv"))
        blocks.append(("middle_block.0", "mid_block.resnets.0", "resnet"))
        blocks.append(("middle_block.1", "mid_block.attentions.0", "transformer"))
        blocks.append(("middle_block.2", "mid_block.resnets.1", "resnet"))
        return blocks

    @cached_property
    def _names(self) -> list[tuple[str, str, bool]]:
        """(LDM name, diffusers name, whether a transformer's inside may follow)."""
        names = [(ldm, diffusers, False) for ldm, diffusers in TOP]
        for ldm, diffusers, kind in self.blocks():
            names.append((ldm, diffusers, kind == "transformer"))
            if kind == "resnet":
                names += [(f"{ldm}.{a}", f"{diffusers}.{b}", False) for a, b in RESNET]
        return names

    @cached_property
    def _ldm_names(self) -> dict[str, tuple[str, bool]]:
        return {diffusers: (ldm, inside) for ldm, diffusers, inside in self._names}

    @cached_property
    def _diffusers_names(self) -> dict[str, tuple[str, bool]]:
        return {ldm: (diffusers, inside) for ldm, diffusers, inside in self._names}


SD15 = UNetLayout(4, 2, (True, True, True, False))


def _rename(key: str, names: dict[str, tuple[str, bool]]) -> str:
    match = re.fullmatch(rf"(?P<layer>.+?){LEAF}", key)
    layer, leaf = (match["layer"], match["leaf"] or "") if match else (key, "")
    if layer in names:
        return names[layer][0] + leaf
    block = re.fullmatch(rf"(?P<block>.+?)\.(?P<inside>{TRANSFORMER})", layer)
    if block and names.get(block["block"], ("", False))[1]:
        return f"{names[block['block']][0]}.{block['inside']}{leaf}"
    raise KeyError(key)


# ---------------------------------------------------------------------------- a UNet in a file
_PLACES = {
    "ldm": re.compile(
        r"(?P<prefix>(?:[^.]+\.)*?)(?:input_blocks|middle_block|output_blocks)\.\d+\."
    ),
    "diffusers": re.compile(
        r"(?P<prefix>(?:[^.]+\.)*?)(?:(?:down|up)_blocks\.\d+|mid_block)\.(?:resnets|attentions)\."
    ),
}
# What has blocks of these names and is no image UNet: ControlNets, and a VAE's two halves.
_NO_UNET = re.compile(
    r"(?:.*\.)?(?:control_model|controlnet|encoder|decoder)\.|(?:first_stage|vae).*"
)
_EMA = re.compile(r"(?:.*[._])?ema(?:[._].*)?")
Naming = Literal["ldm", "diffusers"]


def unet_places(names: Iterable[str]) -> dict[str, Naming]:
    """Prefixes in a file under which an image UNet is, with the naming of its layers."""
    found: dict[str, Naming] = {}
    for name in names:
        for naming, pattern in _PLACES.items():
            match = pattern.match(name)
            if match and not _NO_UNET.fullmatch(match["prefix"]):
                found.setdefault(match["prefix"], cast(Naming, naming))
    return found


def is_average(prefix: str) -> bool:
    """Whether a prefix says that a moving average is under it."""
    return _EMA.fullmatch(prefix) is not None


# ---------------------------------------------------------------------------- temporal layers
MODULE = r"(?:(?:down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+"
# (AnimateDiff, diffusers) names inside one block of a temporal transformer.
TEMPORAL = (
    *(
        (f"attention_blocks.{i}.{layer}", f"attn{i + 1}.{layer}")
        for i in (0, 1)
        for layer in ("to_q", "to_k", "to_v", "to_out.0")
    ),
    ("norms.0", "norm1"),
    ("norms.1", "norm2"),
    ("ff_norm", "norm3"),
    ("ff.net.0.proj", "ff.net.0.proj"),
    ("ff.net.2", "ff.net.2"),
)
POSITIONS = ("attention_blocks.0.pos_encoder.pe", "attention_blocks.1.pos_encoder.pe")
_TO_DIFFUSERS = dict(TEMPORAL) | dict.fromkeys(POSITIONS, "pos_embed.pe")
_TO_ANIMATEDIFF = {diffusers: animatediff for animatediff, diffusers in TEMPORAL}


def motion_to_diffusers(animatediff_key: str) -> str:
    """Both position tables of a block get the one name that diffusers has for them."""
    return _rename_motion(animatediff_key, r"\.temporal_transformer", "", _TO_DIFFUSERS)


def motion_to_animatediff(diffusers_key: str) -> str:
    """A position table is refused, because it has two names: see `animatediff_positions`."""
    return _rename_motion(diffusers_key, "", ".temporal_transformer", _TO_ANIMATEDIFF)


def animatediff_positions(diffusers_key: str) -> tuple[str, str]:
    """The two AnimateDiff names of one diffusers `pos_embed.pe`."""
    match = re.fullmatch(rf"({MODULE})\.(transformer_blocks\.\d+)\.pos_embed\.pe", diffusers_key)
    if not match:
        raise KeyError(diffusers_key)
    first, second = (f"{match[1]}.temporal_transformer.{match[2]}.{name}" for name in POSITIONS)
    return first, second


def _rename_motion(key: str, inner: str, new_inner: str, names: dict[str, str]) -> str:
    match = re.fullmatch(
        rf"(?P<module>{MODULE}){inner}\.(?:(?P<top>norm|proj_in|proj_out)"
        rf"|(?P<block>transformer_blocks\.\d+)\.(?P<layer>.+?)){LEAF}",
        key,
    )
    if not match or not (match["top"] or match["layer"] in names):
        raise KeyError(key)
    rest = match["top"] or f"{match['block']}.{names[match['layer']]}"
    return f"{match['module']}{new_inner}.{rest}{match['leaf'] or ''}"


# ---------------------------------------------------------------------------- motion LoRA files
_INSIDE = {name.replace(".", "_"): names[0] for names in TEMPORAL for name in names}
_PLACE = re.compile(
    r"((?:down|up)_blocks_\d+|mid_block)_motion_modules_(\d+)_(?:temporal_transformer_)?"
    r"(?:(norm|proj_in|proj_out)|transformer_blocks_(\d+)_(.+))"
)


def motion_lora_keys(layer: str) -> tuple[str, str]:
    """(down key, up key) of an attention layer, named as in the motion LoRAs of AnimateDiff.

    layer: AnimateDiff naming, for example `....attention_blocks.0.to_q` or `....to_out.0`.
    """
    match = re.fullmatch(
        rf"({MODULE}\.temporal_transformer\.transformer_blocks\.\d+\.attention_blocks\.[01])"
        r"\.(to_[qkv]|to_out(?=\.0))(?:\.0)?",
        layer,
    )
    if not match or (match[2] != "to_out" and layer.endswith(".0")):
        raise KeyError(layer)
    stem = f"{match[1]}.processor.{match[2]}_lora"
    return f"{stem}.down.weight", f"{stem}.up.weight"


def motion_layer(plain_name: str) -> str:
    """A temporal layer in AnimateDiff naming, from its name with underscores for dots.

    plain_name: AnimateDiff's or diffusers', without any prefix. Raises KeyError for another layer.
    """
    match = _PLACE.fullmatch(plain_name)
    if not match or (match[5] and match[5] not in _INSIDE):
        raise KeyError(plain_name)
    place = re.sub(r"_(\d+)$", r".\1", match[1])
    module = f"{place}.motion_modules.{match[2]}.temporal_transformer"
    return f"{module}.{match[3] or f'transformer_blocks.{match[4]}.{_INSIDE[match[5]]}'}"


def channels_of(layer: str) -> tuple[int, int]:
    """(out, in) of a temporal layer's weight, as multiples of the module's channels."""
    if layer.endswith(".ff.net.0.proj"):
        return 8, 1
    return (1, 4) if layer.endswith(".ff.net.2") else (1, 1)
