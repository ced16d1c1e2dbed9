"""Ten graphs of the pack's nodes in ComfyUI on a card, held against the same graphs on a CPU.

``python benchmarks card.graphs --comfyui PATH --mode dynamic [--weights fp16 bf16 fp8]
[--truth FILE]`` prints one JSON line for each kind of weights. ``--mode cpu --truth FILE`` writes
the latents that the others are held against. All on the shapes world, with SD1.5's own noise table
in the plain checkpoint, so that a table that is mistaken for another is seen.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..common.comfyui import boot

# What ComfyUI is started with. half: a patcher loads half of each model, and the rest as it runs.
MODES = {
    "cpu": ["--cpu"],
    "dynamic": [],
    "normal": ["--disable-dynamic-vram"],
    "half": ["--disable-dynamic-vram", "--lowvram"],
    "lowvram": ["--disable-dynamic-vram", "--lowvram"],
    "novram": ["--disable-dynamic-vram", "--novram"],
}
OPTIONS = {
    "fp32": "fp32_unet", "fp16": "fp16_unet", "bf16": "bf16_unet", "fp8": "fp8_e4m3fn_unet"
}  # fmt: skip  # a format of the UNet's weights, and ComfyUI's option for it
# How far off the CPU in fp32 a graph may be: so many times as far as the plain checkpoint, in which
# nothing is ours, and that no further than so many times the weights' own precision.
OVER_PLAIN, OVER_PRECISION = 2.0, 32
PLAIN = "plain checkpoint"
AGAIN = 4  # graphs that are sampled once more
SEED = 100

Latents = dict[str, Any]  # graph to (frames, 4, height, width), on the CPU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI checkout")
    parser.add_argument("--mode", choices=MODES, default="dynamic")
    parser.add_argument("--weights", choices=OPTIONS, nargs="+", default=["fp16", "bf16", "fp8"])
    parser.add_argument("--truth", type=Path, required=True, help="the CPU's latents, safetensors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        boot(options.comfyui, Path(base), MODES[options.mode])
        if options.mode == "cpu":
            write_truth(options.truth)
            return
        truth = read_truth(options.truth)
        for weights in options.weights:
            print(json.dumps(compare(options.mode, weights, truth)), flush=True)


def write_truth(path: Path) -> None:
    """The latents of every graph as the CPU computes them, in fp32."""
    from safetensors.torch import save_file

    latents, failed = sampled("fp32", turns=1)
    if failed:
        raise RuntimeError(f"on the CPU: {failed}")
    save_file({name: latent for (name, _), latent in latents.items()}, path)


def read_truth(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def compare(mode: str, weights: str, truth: dict[str, Any]) -> dict[str, Any]:
    """How far each graph is from the CPU's latents, in both turns; the worst, and what failed."""
    if mode == "half":
        load_half()
    begun = time.perf_counter()
    latents, failed = sampled(weights, turns=2)
    off = {
        f"{name}, turn {turn}": relative(latent, truth[name])
        for (name, turn), latent in latents.items()
    }
    worst = max(off, key=lambda name: off[name], default="")
    plain = off.get(f"{PLAIN}, turn 1", float("nan"))
    return {
        "measure": "graphs",
        "mode": mode,
        "weights": weights,
        "graphs": len(latents),
        "off": {name: float(f"{value:.3g}") for name, value in off.items()},
        "worst": worst,
        "worst_off": float(f"{off[worst]:.3g}") if worst else None,
        "plain_off": float(f"{plain:.3g}"),
        "beyond": beyond(off, plain, weights),
        "failed": failed,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def beyond(off: dict[str, float], plain: float, weights: str) -> list[str]:
    """Graphs that are further from the truth than rounding explains, or than can be compared."""
    import torch

    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    highest = OVER_PRECISION * torch.finfo(kinds.get(weights, torch.float8_e4m3fn)).eps
    return [n for n, value in off.items() if not value <= min(OVER_PLAIN * plain, 2 * highest)] + (
        [] if plain <= highest else [PLAIN]
    )


def relative(latent: Any, truth: Any) -> float:
    return float((latent - truth).norm() / truth.norm())


def load_half() -> None:
    """From here on half of each model is loaded, as ComfyUI does where memory holds no more."""
    from comfy.model_patcher import ModelPatcher

    load = ModelPatcher.load
    if getattr(load, "half", False):
        return

    def half(
        self: Any, device_to: Any = None, lowvram_model_memory: int = 0, **options: Any
    ) -> Any:
        return load(self, device_to, lowvram_model_memory=self.model_size() // 2, **options)

    half.half = True  # type: ignore[attr-defined]  # so that it is not halved twice
    ModelPatcher.load = half  # type: ignore[method-assign]  # what a smaller card would make it do


def sampled(weights: str, turns: int) -> tuple[dict[tuple[str, int], Any], dict[str, str]]:
    """({(graph, turn): latents}, {graph: why it failed}).

    Plain and moving models load and unload each other: a second turn has the first few graphs
    again, the other way round, after all that the others left behind.
    """
    import torch

    latents, failed = {}, {}
    with stored(weights), torch.inference_mode():
        graphs = graphs_of(Parts())
        for turn in range(1, turns + 1):
            for name in graphs if turn == 1 else reversed(list(graphs)[:AGAIN]):
                try:
                    latents[name, turn] = graphs[name]().float().cpu().clone()
                except Exception as error:
                    failed[f"{name}, turn {turn}"] = f"{type(error).__name__}: {error}"[:300]
    return latents, failed


class stored:
    """With it, ComfyUI keeps a UNet's weights in this format, as its option says at a start."""

    def __init__(self, weights: str):
        self.option = OPTIONS[weights]

    def __enter__(self) -> None:
        from comfy.cli_args import args

        setattr(args, self.option, True)

    def __exit__(self, *_: object) -> None:
        from comfy.cli_args import args

        setattr(args, self.option, False)


class Parts:
    """The models and adapters that the graphs are made of, in the format of the moment."""

    def __init__(self) -> None:
        from helpers.host import world

        from ...adapters.worlds import model as shapes
        from ...worlds.shapes.files import CONTROLNET, WEIGHTS

        # SD1.5's own schedule, as every real checkpoint has it, in place of the shapes world's.
        own = shapes.WorldModel.sampling_settings
        shapes.WorldModel.sampling_settings = {**own, "beta_schedule": "linear"}
        try:
            self.plain = world.plain()
        finally:
            shapes.WorldModel.sampling_settings = own
        world.motion_module.cache_clear()
        self.moving = world.moving(self.plain)
        # Any: the helpers reach the pack by its name, still_moving, and so its classes are others.
        self.motion_adapter: Any = world.motion_adapter()
        self.spatial_adapter: Any = world.spatial_adapter()
        self.controlnet = shapes.load_controlnet(WEIGHTS / CONTROLNET)

    def held(self, model: Any, scale: Any) -> Any:
        """With the Motion Adapter, at a scale or a schedule of it."""
        from ...adapters.host.motion_adapter import apply_motion_adapter

        return apply_motion_adapter(model, self.motion_adapter, scale, "motion")[0]

    def true(self, model: Any, mode: Any = "auto") -> Any:
        """With the Spatial Adapter at 1."""
        from ...adapters.host.spatial_adapter import apply_spatial_adapter

        return apply_spatial_adapter(model, self.spatial_adapter, 1.0, mode, "spatial")[0]

    def injected(self, model: Any, amount: float) -> Any:
        """With the customized checkpoint in it."""
        from ...adapters.host.injection import inject_checkpoint
        from ...worlds.shapes.files import CUSTOMIZED, WEIGHTS

        return inject_checkpoint(model, WEIGHTS / CUSTOMIZED, amount)

    def taught(self, model: Any, amount: float) -> Any:
        """With the motion weights that NewMove learned."""
        from ...adapters.files.motion_weights import load_motion_weights
        from ...adapters.host.motion_weights import apply_to_model
        from ...worlds.shapes.files import NEWMOVE, WEIGHTS

        learned = load_motion_weights(WEIGHTS / NEWMOVE)
        return apply_to_model(model, learned, amount, "motion weights")[0]

    def lora(self, model: Any) -> Any:
        """An image LoRA of the shapes world, by ComfyUI's own loader."""
        import comfy.sd
        import comfy.utils

        from ...worlds.shapes.files import LORA, LORAS

        lora = comfy.utils.load_torch_file(str(LORAS / LORA))
        return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]

    def controlled(self, model: Any, frames: int) -> Any:
        """Latents under a ControlNet with a hint for each frame."""
        import comfy.sample
        import torch

        from helpers.host import world

        nodes: Any = importlib.import_module("nodes")  # ComfyUI's, and not the pack's own

        dice = torch.Generator().manual_seed(SEED)
        hint = (torch.rand(frames, 128, 128, 3, generator=dice) > 0.7).float()
        noise = torch.randn(frames, 4, 16, 16, generator=dice)
        positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
            [[world.text(world.PROMPT), {}]],
            [[world.text(""), {}]],
            self.controlnet, hint, strength=0.9, start_percent=0.0, end_percent=1.0,
        )  # fmt: skip  # the conditions, then what is applied to them
        return comfy.sample.sample(
            model, noise, 2, 2.0, "euler", "normal", positive, negative,
            torch.zeros_like(noise), seed=0, disable_pbar=True,
        )  # fmt: skip  # in KSampler's order


def graphs_of(parts: Parts) -> dict[str, Callable[[], Any]]:
    """What an artist wires, by name; each samples a clip and returns its latents."""
    from helpers.host import world

    from ...adapters.host.windows import apply_windows
    from ...adapters.scale_schedule import ScaleSchedule

    plain, moving = parts.plain, parts.moving
    schedule = ScaleSchedule(1.0, -0.5, "smooth", 0.0, 0.9)

    def windowed() -> Any:
        return world.sample(apply_windows(parts.held(moving, schedule), 8, 2, "looped"), 12)

    def everything() -> Any:
        model = parts.held(parts.lora(parts.injected(moving, 0.5)), schedule)
        return parts.controlled(apply_windows(parts.true(model), 8, 2, "uniform"), 12)

    return {
        PLAIN: lambda: world.sample(plain),
        "motion module": lambda: world.sample(moving),
        "Motion Adapter at -0.5": lambda: world.sample(parts.held(moving, -0.5)),
        "Motion Adapter, scheduled": lambda: world.sample(parts.held(moving, schedule), steps=3),
        "Spatial Adapter": lambda: world.sample(parts.true(parts.injected(moving, 1.0))),
        "Spatial Adapter, runtime": lambda: world.sample(parts.true(moving, "runtime")),
        "injection at 0.5": lambda: world.sample(parts.injected(moving, 0.5)),
        "motion weights at 0.5": lambda: world.sample(parts.taught(moving, 0.5)),
        "windows of a longer clip": windowed,
        "everything, with LoRA and ControlNet": everything,
    }
