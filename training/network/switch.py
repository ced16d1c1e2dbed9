"""The motion modules, switched off for what has no time: pictures in a network of clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from diffusers import UNetMotionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor


class TemporalSwitch:
    """Lets every frame through the motion modules as it is while ``on`` is False.

    Then the network is the image model by itself (Customize-A-Video, A.1): there are no other
    temporal layers in AnimateDiff. To be made before whatever else wraps the modules.
    """

    def __init__(self, unet: UNetMotionModel, on: bool = True):
        self.on = on
        for module in unet.modules():
            if isinstance(module, AnimateDiffTransformer3D):
                module.forward = partial(self._forward, module.forward)  # type: ignore[method-assign]  # wrapped on purpose

    def _forward(
        self, forward: Callable[..., Tensor], frames: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        return forward(frames, *rest, **more) if self.on else frames
