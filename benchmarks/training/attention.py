"""Ways to compute the motion modules' attention over frames, to be measured beside each other.

Its sequences are as short as a clip has frames, and there is one for each pixel and head: tiles
that fused kernels are made of stay mostly empty.
"""

from __future__ import annotations

from typing import Any, Literal

from diffusers import UNetMotionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch.nn.attention import SDPBackend, sdpa_kernel

# any: PyTorch's own choice; products: two matrix products and a softmax, nothing fused.
TemporalAttention = Literal["any", "flash", "efficient", "cudnn", "products"]
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


class OnlyWith:
    """diffusers' attention with one fused kernel and no other, recomputed or not."""

    def __init__(self, backend: SDPBackend):
        self.backend, self.attend = backend, AttnProcessor2_0()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with sdpa_kernel(self.backend):
            return self.attend(*arguments, **options)


def set_temporal_attention(unet: UNetMotionModel, kind: TemporalAttention) -> None:
    """Have the motion modules compute their attention this way; the image layers stay."""
    if kind == "any":
        return
    processor: Any = AttnProcessor() if kind == "products" else OnlyWith(BACKENDS[kind])
    for module in unet.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            for layer in module.modules():
                if isinstance(layer, Attention):
                    layer.set_processor(processor)
