"""What a stage trains, and all that follows from it: one table.

Where a site is a Spatial Adapter, its layers follow its policy (training/network/spatial.py).

Names of layers are diffusers'. Names alone, so that ComfyUI's process can count what is trained
without building the network. Only the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

SiteName = Literal[
    "temporal.qkv",
    "spatial.qkv",
    "words",
    "spatial.qkv+words",
    "spatial.layers",
    "spatial.blocks",
    "spatial.all",
    "temporal.qkv.full",
    "temporal.all",
    "temporal.all+kv",
]
Result = Literal[
    "Motion Adapter",
    "Spatial Adapter",
    "motion weights",
    "checkpoint",
    "image LoRA",
    "embedding",
]

MOTION, APPEARANCE = "motion", "appearance"  # finished adapters that a stage may hold fixed
_QKV = r"\.\d+\.transformer_blocks\.\d+\.attn[12]\.to_[qkv]"
_TEMPORAL_QKV = rf".*motion_modules{_QKV}"
_KEYS_VALUES = re.compile(r".*\.attentions\.\d+\.transformer_blocks\.\d+\.attn2\.to_[kv]\.weight")


def is_spatial(parameter: str) -> bool:
    """Whether a parameter of the network belongs to the image model and not to time or LoRA."""
    return "motion_modules" not in parameter and "lora_" not in parameter


def is_temporal(parameter: str) -> bool:
    return "motion_modules" in parameter


@dataclass(frozen=True)
class LoraSite:
    """LoRA beside layers. name: peft's for it in the network; layers: a pattern of their names."""

    name: str
    layers: str

    def has(self, layer: str) -> bool:
        return re.fullmatch(self.layers, layer) is not None


@dataclass(frozen=True)
class Site:
    """What one value of ``Stage.train`` stands for.

    Exactly one of lora, policy and parameters is set, or none where words alone are trained.
    """

    result: Result  # what the stage's file is; trained words beside a LoRA get a file of their own
    temporal: bool = False  # layers over time, which learn nothing from single frames
    lora: LoraSite | None = None
    policy: str = ""  # of Spatial Adapters: after "layers" or after whole "blocks"
    parameters: Callable[[str], bool] | None = None  # by name: those that are trained as they are
    words: bool = False  # embeddings of describing words: textual inversion
    may_hold: tuple[str, ...] = ()  # names for ``Stage.use``

    @property
    def trains_motion_adapter(self) -> bool:
        """Whether what is trained has a scale that sources choose."""
        return self.lora is not None and self.lora.name == MOTION


MOTION_LORA = LoraSite(MOTION, _TEMPORAL_QKV)
# Self-attention and cross-attention of every image layer (Customize-A-Video, section 3.2).
APPEARANCE_LORA = LoraSite(APPEARANCE, rf".*\.attentions{_QKV}")
SITES: dict[SiteName, Site] = {
    "temporal.qkv": Site("Motion Adapter", temporal=True, lora=MOTION_LORA, may_hold=(APPEARANCE,)),
    "spatial.qkv": Site("image LoRA", lora=APPEARANCE_LORA),
    "words": Site("embedding", words=True),
    "spatial.qkv+words": Site("image LoRA", lora=APPEARANCE_LORA, words=True),
    "spatial.layers": Site("Spatial Adapter", policy="layers", may_hold=(MOTION,)),
    "spatial.blocks": Site("Spatial Adapter", policy="blocks", may_hold=(MOTION,)),
    "spatial.all": Site("checkpoint", parameters=is_spatial, may_hold=(MOTION,)),
    "temporal.qkv.full": Site(
        "motion weights",
        temporal=True,
        parameters=lambda n: re.fullmatch(rf"{_TEMPORAL_QKV}\.weight", n) is not None,
        may_hold=(APPEARANCE,),
    ),
    "temporal.all": Site(
        "motion weights", temporal=True, parameters=is_temporal, may_hold=(APPEARANCE,)
    ),
    # NewMove, section 3.2: all temporal layers, keys and values of spatial cross-attention.
    "temporal.all+kv": Site(
        "motion weights",
        temporal=True,
        parameters=lambda n: is_temporal(n) or _KEYS_VALUES.fullmatch(n) is not None,
        may_hold=(APPEARANCE,),
    ),
}
