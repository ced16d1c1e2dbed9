"""How long a press of Train holds ComfyUI's queue with files of SD1.5's size: JSON, a line each.

``python benchmarks training.press [--comfyui ~/comfy/ComfyUI] [--prompts 24] [--device gpu]``.
Random weights: checkpoint, VAE, text encoder and a v3 motion module in fp16. What is timed is what
Generate Prior Clips does at a press, which takes longest there: it reads every prompt with CLIP,
and has the MODEL's weights written. First, with another seed, and with other prompts.
``words_s`` is CLIP's share of it; ``until_written_s`` counts from the press, too: then the job
begins.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ..common.comfyui import boot

HOME = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
# The node's other inputs.
SETTINGS = {
    "token": "", "class_word": "", "negative": "blurry", "steps": 25, "cfg": 7.0, "frames": 16,
    "sampler_name": "dpmpp_2m", "scheduler": "karras", "width": 512, "height": 512,
}  # fmt: skip  # many short values, several a line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, default=HOME, help="a ComfyUI checkout")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        boot(options.comfyui, Path(folder) / "base", ["--cpu"] * (options.device == "cpu"))
        wires = models(Path(folder))
        for name, seed, subject in (
            ("first", 1, "dog"), ("another seed", 2, "dog"), ("other prompts", 3, "cat"),
        ):  # fmt: skip  # a press each
            prompts = "\n".join(f"a {subject} in street {i}" for i in range(options.prompts))
            asked = {"prompts": prompts, "count": options.prompts, "seed": seed}
            print(json.dumps({"press": name, **timed({**wires, **SETTINGS, **asked})}), flush=True)


def models(folder: Path) -> dict[str, Any]:
    """MODEL, CLIP and VAE as loaders give them."""
    import comfy.sd

    from helpers.real_size import write_motion_module, write_sd15

    from ...adapters.host.motion_module import apply_motion_module, load_motion_module

    write_sd15(folder / "sd15.safetensors", seed=1)
    write_motion_module(folder / "mm_v3.safetensors", "v3", seed=2)
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(folder / "sd15.safetensors"))
    module = load_motion_module(folder / "mm_v3.safetensors")
    return {"model": apply_motion_module(model, module), "clip": clip, "vae": vae}


def timed(inputs: dict[str, Any]) -> dict[str, float]:
    from ...nodes.sets.generate import GeneratePriorClips
    from ...nodes.shared import writer
    from ...training.drawing.sampling import conditioning_of

    begun = time.perf_counter()
    GeneratePriorClips.planned(**inputs)
    pressed = time.perf_counter()
    writer.finish()
    written = time.perf_counter()
    for text in inputs["prompts"].splitlines():
        conditioning_of(inputs["clip"], text)
    spans = {
        "press_s": pressed - begun,
        "words_s": time.perf_counter() - written,
        "until_written_s": written - begun,
    }
    return {name: round(seconds, 2) for name, seconds in spans.items()}


if __name__ == "__main__":
    main()
