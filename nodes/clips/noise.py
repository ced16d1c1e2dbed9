"""FreeNoise: start noise with which the windows of a long clip agree."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...adapters.window_plans import shuffled_noise
from ...common.errors import UserError
from ..shared.sockets import CATEGORY, length_input, overlap_input, seed_input


class FreeNoise(io.ComfyNode):
    """LATENT of a long clip -> the same, whose frames start from the first window's noises."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingFreeNoise",
            display_name="FreeNoise",
            category=CATEGORY,
            description="Start noise for clips that are longer than a window: later frames reuse"
            " the noise of the first ones, in another order, so that places and things change less"
            " from window to window. For every sampler that adds noise.",
            inputs=[
                io.Latent.Input("latent", tooltip="The frames of the whole clip, empty or not."),
                length_input("Frames of a window, as in Context Windows."),
                overlap_input("Frames that windows share, as in Context Windows."),
                seed_input("Another one puts the noises of later frames in another order."),
            ],
            outputs=[io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], length: int, overlap: int, seed: int) -> io.NodeOutput:
        if overlap >= length:
            raise UserError(
                "FreeNoise", f"an overlap of {overlap} frames", f"less than the length, {length}",
                "Put in the numbers of Context Windows.",
            )  # fmt: skip  # file, found, expected, next move
        frames = len(latent["samples"])
        if frames <= length:
            return io.NodeOutput(latent)
        # ComfyUI's samplers draw noise number n of the seed where this list says n.
        numbers = latent.get("batch_index") or list(range(frames))
        order = shuffled_noise(frames, length, overlap, seed)
        return io.NodeOutput({**latent, "batch_index": [numbers[i] for i in order]})
