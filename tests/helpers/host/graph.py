"""Prompts in API form, built node by node, that sample clips of the shapes world."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

PROMPT = "red circle left night"
MODULE = "demo: shapes_motion_module.safetensors"


class Node:
    """A node of a prompt; its outputs by number, as inputs take them."""

    def __init__(self, number: str) -> None:
        self.number = number

    def __getitem__(self, output: int) -> list[Any]:
        return [self.number, output]


class Graph(dict[str, dict[str, Any]]):
    """A prompt. world: the node that loads the shapes world."""

    def __init__(self) -> None:
        super().__init__()
        self.world = self.add("StillMovingLoadShapesWorld")

    def add(self, kind: str, **inputs: Any) -> Node:
        """A node of a class; an input is a value, or an output of another node's."""
        number = str(len(self) + 1)
        self[number] = {"class_type": kind, "inputs": inputs}
        return Node(number)

    def moving(self, model: list[Any] | None = None) -> list[Any]:
        """A MODEL, the base unless given, with the shapes world's motion module."""
        module = self.add("StillMovingLoadMotionModule", file=MODULE)
        return self.add(
            "StillMovingApplyMotionModule",
            model=model or self.world[0],
            motion_module=module[0],
            schedule="auto",
        )[0]

    def windowed(self, model: list[Any], length: int = 4, overlap: int = 1) -> list[Any]:
        return self.add(
            "StillMovingContextWindows",
            model=model,
            length=length,
            overlap=overlap,
            schedule="uniform",
        )[0]

    def text(self, prompt: str) -> list[Any]:
        return self.add("CLIPTextEncode", text=prompt, clip=self.world[2])[0]

    def sample(
        self, model: list[Any], positive: list[Any] | None = None, frames: int = 8, **changes: Any
    ) -> Node:
        """A sampler; by default 2 steps of one prompt, 16x16 latents."""
        empty = self.add("EmptyLatentImage", width=128, height=128, batch_size=frames)
        inputs = {
            "seed": 1,
            "steps": 2,
            "cfg": 2.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "positive": positive or self.text(PROMPT),
            "negative": self.text(""),
            "latent_image": empty[0],
        }
        return self.add("KSampler", model=model, **(inputs | changes))

    def pixels(self, sampled: Node) -> list[Any]:
        return self.add("VAEDecode", samples=sampled[0], vae=self.world[3])[0]

    def latents(self, server: Any, sampled: Node) -> Tensor:
        """Run a server to this sampler's end: its latents (frames, 4, h, w)."""
        saved = self.add("SaveLatent", samples=sampled[0], filename_prefix="latents")
        (path,) = server.output_files({saved.number: server.run(self)[saved.number]})
        return load_file(path)["latent_tensor"]


def close(actual: Tensor, expected: Tensor) -> None:
    """Kernels round differently for other batches; a wrong frame or hint is off by 0.05 and up."""
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
