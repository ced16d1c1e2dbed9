"""A Spatial Adapter as a plain LoRA file, for tools that know nothing of Still-Moving.

Adding U(D W) to W, and U(D b) to b, is what a LoRA with up = U and down = D W, and a bias
difference, does. It holds for the one checkpoint it was exported for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import UserError
from ..low_rank import spatial_as_lora
from .adapter import Adapter
from .checkpoint import UNetWeights
from .tensors import write_tensors

POLICY = "layers"


def export_lora(adapter: Adapter, unet: UNetWeights, path: Path | str, scale: float = 1.0) -> None:
    """Write a LoRA that, at weight 1, equals the Spatial Adapter at `scale` on this UNet.

    Keys are kohya's, the form that the most tools load: `lora_unet_<diffusers name>` with
    `.lora_down.weight` (4-D for a convolution), `.lora_up.weight`, `.alpha` (= rank, so a factor of
    1) and `.diff_b`, what the bias gains. Raises UserError for other adapters and other UNets.
    """
    path = Path(path)
    _refuse_unmergeable(adapter, unet, path)
    tensors: dict[str, Tensor] = {}
    for layer, pair in adapter.pairs.items():
        weight, bias = (unet.tensors[f"{layer}.weight"], unet.tensors.get(f"{layer}.bias"))
        lora, bias_diff = spatial_as_lora(weight, bias, pair)
        down, up = lora.down, scale * lora.up
        if weight.ndim == 4:
            down, up = down.reshape(-1, *weight.shape[1:]), up[:, :, None, None]
        name = f"lora_unet_{unet.layout.to_diffusers(layer).replace('.', '_')}"
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.alpha"] = torch.tensor(float(pair.rank))
        if bias_diff is not None:
            tensors[f"{name}.diff_b"] = scale * bias_diff
    write_tensors(path, tensors, _metadata(adapter, unet, scale))


def _refuse_unmergeable(adapter: Adapter, unet: UNetWeights, path: Path) -> None:
    info = adapter.info
    if info.kind != "spatial":
        found, advice = ("a Motion Adapter", "It is a motion LoRA already: use its file as it is.")
        raise UserError(path, found, "a Spatial Adapter to export", advice)
    if info.sites == "blocks":
        raise UserError(
            path,
            "a Spatial Adapter on whole blocks (policy 'blocks')",
            f"policy {POLICY!r}: a block's output includes its input, which no weight can change",
            "Use it with Apply Spatial Adapter, or train one with policy 'layers'.",
        )
    for layer, pair in adapter.pairs.items():
        weight = unet.tensors.get(f"{layer}.weight")
        if weight is None or weight.shape[0] != pair.up.shape[0]:
            found = "no such layer" if weight is None else f"{weight.shape[0]} channels out"
            raise UserError(
                unet.name,
                f"{found} for {layer!r}",
                f"the UNet that the adapter fits ({info.base}, {pair.up.shape[0]} channels here)",
                "Export with the checkpoint that the adapter was trained for.",
            )


def _metadata(adapter: Adapter, unet: UNetWeights, scale: float) -> dict[str, str]:
    info = adapter.info
    return {
        "ss_network_dim": str(info.rank),
        "ss_network_alpha": str(info.rank),
        "ss_sd_model_name": unet.name,
        "still_moving.exported_from": "spatial",
        "still_moving.scale": str(scale),
        "still_moving.checkpoint": unet.hash,
        "still_moving.motion_module": info.motion_module,
    }
