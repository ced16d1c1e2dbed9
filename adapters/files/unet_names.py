"""Finding the image UNet among a file's tensors: any prefix, either naming, with what is beside it.

LDM's prefix is `model.diffusion_model.`; ComfyUI's loaders and trainers write `diffusion_model.`,
`unet.` and others, and diffusers names its layers in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError
from . import keys, kinds
from .keys import SD15, UNetLayout
from .quantized import widened
from .templates import unet_shapes

PREFIX = "model.diffusion_model."
EMA_PREFIX = "model_ema."
# Training tools leave a counter or two of the moving average in files that have none.
EMA_KEYS = 100
WORLD_LAYOUT = UNetLayout(2, 1, (True, True))  # of the worlds that the pack ships
_LAYOUTS = {4: SD15, 2: WORLD_LAYOUT}  # by levels
EXPECTED = "an SD1.5 checkpoint or UNet"
NEXT_MOVE = "Use SD1.5 or a checkpoint made from it (DreamBooth, merge, style)."

V_PRED, ZTSNR = "v_pred", "ztsnr"  # empty tensors by which a checkpoint says what it predicts
# What stands beside a UNet that has no prefix: other parts, and tables of the noise schedule.
_BESIDE = re.compile(
    r"(?:model_sampling|first_stage_model|cond_stage_model|conditioner|text_encoders?|vae|loss"
    r"|model_ema|ema|text_model|safety_checker)\..*"
    r"|betas|alphas_cumprod\w*|sqrt_\w+|log_one_minus_\w+|posterior_\w+|lvlb_weights|logvar"
    r"|scale_factor|epoch|global_step"
)


def extract_unet(
    path: Path | str, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """(the UNet's tensors in LDM naming without prefix, what to say of them).

    A moving average is used only where a file holds nothing else; fp8 is widened. Raises UserError
    for a file that holds no UNet, or two, or one in other quantized forms.
    """
    path = Path(path)
    places, kind = keys.unet_places(tensors), kinds.kind_of(tensors)
    averaged = {k: t for k, t in tensors.items() if k.startswith(EMA_PREFIX)}
    if kind not in (kinds.CHECKPOINT, kinds.UNET, kinds.MOTION_UNET, None):
        places, averaged = {}, {}
    plain = [prefix for prefix in places if not keys.is_average(prefix)]
    if plain:
        prefix, notes = _chosen(path, plain), []
    elif len(averaged) >= EMA_KEYS and not places:
        return widened(path, _averaged_tensors(averaged)), [_average_note(EMA_PREFIX)]
    elif places:
        prefix = next(iter(places))
        notes = [_average_note(prefix)]
    else:
        raise _no_unet(path, tensors, kind)
    own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    own = {
        k: t
        for k, t in own.items()
        if k not in (V_PRED, ZTSNR) and (prefix or not _BESIDE.fullmatch(k))
    }
    own = widened(path, own)
    if places[prefix] == "ldm":
        return own, notes
    return _from_diffusers(own, notes), notes


def _chosen(path: Path, prefixes: list[str]) -> str:
    if PREFIX in prefixes or len(prefixes) == 1:
        return PREFIX if PREFIX in prefixes else prefixes[0]
    raise UserError(
        path, f"{len(prefixes)} UNets, under {' and '.join(map(repr, prefixes[:3]))}",
        f"{EXPECTED}, one in a file", "Save the one that you want in a file of its own.",
    )  # fmt: skip  # file, found, expected, next move


def _average_note(prefix: str) -> str:
    return f"The file holds nothing but a moving average of the UNet ({prefix}*): it is used."


def _no_unet(path: Path, tensors: Mapping[str, Tensor], kind: kinds.Kind | None) -> UserError:
    found = kind.name if kind else f"{len(tensors)} other tensors, first {next(iter(tensors))!r}"
    next_move = kind.next_move if kind else NEXT_MOVE
    inside = [name.removeprefix(PREFIX) for name in tensors if name.startswith(PREFIX)]
    if kind is kinds.CHECKPOINT and inside:
        layers = ", ".join(sorted({name.split(".")[0] for name in inside})[:3])
        found, next_move = f"a checkpoint of another kind of network ({layers})", NEXT_MOVE
    elif kind is kinds.CHECKPOINT:
        count = sum(name.startswith(EMA_PREFIX) for name in tensors)
        found = f"a checkpoint with no UNet ({count} keys of a moving average)"
    return UserError(path, found, EXPECTED, next_move)


def _averaged_tensors(averaged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The moving average's tensors under their own names: it stores them without any dots."""
    names = unet_shapes(SD15, 320, (1, 2, 4, 4), 768)
    original = {f"{EMA_PREFIX}diffusion_model{name.replace('.', '')}": name for name in names}
    counters = ("model_ema.decay", "model_ema.num_updates")
    return {original.get(k, k): t for k, t in averaged.items() if k not in counters}


def _from_diffusers(own: Mapping[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Tensors in diffusers naming, renamed; what has no name in LDM keeps its own."""
    levels = {match[1] for name in own if (match := re.match(r"down_blocks\.(\d+)\.resnets", name))}
    layout = _LAYOUTS.get(len(levels), SD15)
    moving = [name for name in own if ".motion_modules." in name]
    if moving:
        notes.append(
            f"Its {len(moving)} tensors of motion layers are left out: load the file as a motion"
            " module, too, to use them."
        )
    named: dict[str, Tensor] = {}
    for name in own.keys() - set(moving):
        try:
            named[layout.to_ldm(name)] = own[name]
        except KeyError:
            named[name] = own[name]
    return {name: named[name] for name in sorted(named)}
