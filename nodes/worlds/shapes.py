"""The shapes world's node: everything that an example needs, with no download."""

from __future__ import annotations

from comfy_api.latest import io

from ...adapters.worlds.model import load_controlnet, load_model
from ...adapters.worlds.pixels import ShapesVAE
from ...adapters.worlds.text import load_clip
from ...worlds.shapes import files
from ..shared.sockets import CATEGORY


class LoadShapesWorld(io.ComfyNode):
    """-> both checkpoints of the shapes world, its words, pixels and ControlNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingLoadShapesWorld",
            display_name="Load Shapes World (demo)",
            category=CATEGORY,
            description="A tiny world that ships with the pack, to try every node without a"
            " download. Prompts are four words: colour (red, green, blue, yellow), shape (circle,"
            " square, triangle), direction (left, right, up, down), look (night, forest, sand,"
            " fog; sks for the customized model). Latents are 128x128, clips 8 frames.",
            inputs=[],
            outputs=[
                io.Model.Output(
                    "base", display_name="base", tooltip="Draws the looks night to fog."
                ),
                io.Model.Output(
                    "customized",
                    display_name="customized",
                    tooltip="The base, customized with eight stills: draws the look sks as well.",
                ),
                io.Clip.Output("clip", display_name="clip"),
                io.Vae.Output("vae", display_name="vae"),
                io.ControlNet.Output(
                    "control_net",
                    display_name="control_net",
                    tooltip="Puts the shape where an outline is: white lines on black, as from"
                    " Canny with thresholds of 0.1 and 0.2.",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(
            load_model(files.WEIGHTS / files.BASE),
            load_model(files.WEIGHTS / files.CUSTOMIZED),
            load_clip(),
            ShapesVAE(),
            load_controlnet(files.WEIGHTS / files.CONTROLNET),
        )
