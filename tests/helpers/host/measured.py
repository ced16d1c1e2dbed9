"""Clips of the example workflows over several prompts, measured from pixels."""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from PIL import Image, ImageSequence
from torchvision.transforms.functional import pil_to_tensor

from still_moving.demo import world
from still_moving.demo.evaluate import Clips
from still_moving.demo.measure import measure
from still_moving.worlds.shapes.latents import FACTOR

API = Path(__file__).resolve().parents[3] / "workflows" / "api"
PROMPTS = 16  # as many as the demo's
SHOWING = (
    "SaveAnimatedWEBP",
    "PreviewImage",
    "StillMovingMeasureMotion",
    "StillMovingCompareClips",
)


def clips_of(
    server,
    name: str,
    look: str | None = None,
    adapters: dict[str, str] | None = None,
    *,
    prompts: int = PROMPTS,
    only: Collection[str] = (),
) -> dict[str, Clips]:
    """Each saved clip of a workflow by its file's name, over several prompts and seeds.

    adapters: files in place of the workflow's own, by the class of the node that applies them.
    only: the saved clips that are made; all when empty.
    """
    scenes = world.spread(world.all_scenes((look,) if look else world.BASE_LOOKS), prompts)
    frames: dict[str, list[torch.Tensor]] = {}
    for seed, scene in enumerate(scenes):
        prompt = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
        for node in prompt.values():
            inputs = node["inputs"]
            if node["class_type"] == "CLIPTextEncode" and inputs["text"]:
                inputs["text"] = scene.prompt
            if "seed" in inputs:
                inputs["seed"] = seed
            if adapters and node["class_type"] in adapters:
                inputs["file"] = adapters[node["class_type"]]
        saved = {i: label for i, label in _saved(prompt).items() if not only or label in only}
        outputs = server.run({i: n for i, n in prompt.items() if i in saved or not _ends(n)})
        for i, label in saved.items():
            (path,) = server.output_files({i: outputs[i]})
            frames.setdefault(label, []).append(read_clip(path))
    return {
        label: Clips(
            torch.stack(clips), [measure(c, s) for c, s in zip(clips, scenes, strict=True)]
        )
        for label, clips in frames.items()
    }


def _saved(prompt: dict) -> dict[str, str]:
    """What the saving nodes call their clips, by the node."""
    return {
        i: node["inputs"]["filename_prefix"].rpartition("/")[2]
        for i, node in prompt.items()
        if node["class_type"] == "SaveAnimatedWEBP"
    }


def _ends(node: dict) -> bool:
    """Whether ComfyUI would run the node though nothing follows it."""
    return node["class_type"] in SHOWING


def read_clip(path: Path) -> torch.Tensor:
    """World pixels (frames, 3, h, w) in 0..1 of a lossless animation."""
    with Image.open(path) as image:
        frames = [pil_to_tensor(f.convert("RGB")) for f in ImageSequence.Iterator(image)]
    return torch.stack(frames)[..., ::FACTOR, ::FACTOR] / 255


def motion(clips: Clips) -> float:
    return clips.mean(lambda m: m.motion)


def fidelity(clips: Clips) -> float:
    return clips.mean(lambda m: m.fidelity)
