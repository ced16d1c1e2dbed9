"""Which layers of the network a stage trains: names as diffusers has them.

Names alone, so that ComfyUI's process can count what is trained without building the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_QKV = r"\.\d+\.transformer_blocks\.\d+\.attn[12]\.to_[qkv]"
TEMPORAL_QKV = rf".*motion_modules{_QKV}"
# Self-attention and cross-attention of every image layer (Customize-A-Video, section 3.2).
SPATIAL_QKV = rf".*\.attentions{_QKV}"
_KEYS_VALUES = re.compile(r".*\.attentions\.\d+\.transformer_blocks\.\d+\.attn2\.to_[kv]\.weight")


def is_spatial(parameter: str) -> bool:
    """Whether a parameter of the network belongs to the image model and not to time or LoRA."""
    return "motion_modules" not in parameter and "lora_" not in parameter


def is_temporal(parameter: str) -> bool:
    return "motion_modules" in parameter


# Which parameters are trained as they are, by what the recipe calls them.
FULL: dict[str, Callable[[str], bool]] = {
    "spatial.all": is_spatial,
    "temporal.qkv.full": lambda n: bool(re.fullmatch(rf"{TEMPORAL_QKV}\.weight", n)),
    "temporal.all": is_temporal,
    # NewMove, section 3.2: all temporal layers, keys and values of spatial cross-attention.
    "temporal.all+kv": lambda n: is_temporal(n) or bool(_KEYS_VALUES.fullmatch(n)),
}
# LoRA's name and the layers that it is on.
LORA = {
    "temporal.qkv": ("motion", TEMPORAL_QKV),
    "spatial.qkv": ("appearance", SPATIAL_QKV),
    "spatial.qkv+words": ("appearance", SPATIAL_QKV),
}
