"""SD1.5 at full size with random weights, sampled in ComfyUI and by a reference outside it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import comfy.sample
import comfy.sd
import folder_paths
import torch
from diffusers import DDPMScheduler
from torch import Tensor

import nodes
from helpers.real_size import motion_shapes, write_motion_module, write_sd15
from still_moving.adapters.files.adapter import Adapter, AdapterInfo
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.low_rank import LowRank
from still_moving.training.network.lora import load_motion_adapter, set_motion_scale
from still_moving.training.network.unet import SCHEDULE, build_unet, predict

FRAMES, SIZE, CFG, STEPS = 16, 8, 5.0, 2  # latents of SIZE x SIZE; AnimateDiff's 16 frames
CPU = torch.device("cpu")


def write_files(folder: Path, version: str) -> tuple[Path, Path]:
    """(UNet, motion module), random; the UNet is written once a folder."""
    unet, module = folder / "unet.safetensors", folder / f"mm_{version}.safetensors"
    if not unet.exists():
        write_sd15(unet, seed=1, parts=("unet",))
    write_motion_module(module, version, seed=2)
    return unet, module


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL, through ComfyUI's own loader."""
    return comfy.sd.load_diffusion_model(str(path), model_options={"dtype": dtype})


def motion_lora(version: str, rank: int = 4) -> Adapter:
    """A motion LoRA on every temporal q, k and v, large enough that it matters."""
    generator = torch.Generator().manual_seed(3)
    pairs = {}
    for name, shape in motion_shapes(version).items():
        if name.endswith((".to_q.weight", ".to_k.weight", ".to_v.weight")):
            down = torch.randn(rank, shape[1], generator=generator) * shape[1] ** -0.5
            pairs[name.removesuffix(".weight")] = LowRank(
                down, 0.5 * torch.randn(shape[0], rank, generator=generator)
            )
    return Adapter(AdapterInfo("motion", rank, "temporal.qkv", "sd15"), pairs)


def spatial_adapter(model: Any, rank: int = 64) -> Adapter:
    """On every layer of policy `layers`, at the paper's rank."""
    generator = torch.Generator().manual_seed(5)
    ends = (".out_layers.3", ".skip_connection", ".proj_out", ".to_out.0", ".ff.net.2", ".op")
    pairs = {}
    for key, weight in model.model.diffusion_model.named_parameters():
        layer = key.removesuffix(".weight")
        upsampler = layer.startswith("output_blocks") and layer.endswith(".conv")
        if layer != key and (layer == "input_blocks.0.0" or upsampler or layer.endswith(ends)):
            down = torch.randn(rank, weight.shape[0], generator=generator) * weight.shape[0] ** -0.5
            up = 0.05 * torch.randn(weight.shape[0], rank, generator=generator)
            pairs[layer] = LowRank(down, up)
    return Adapter(AdapterInfo("spatial", rank, "layers", "sd15"), pairs)


def animatediff_evolved(
    pack: Path, model: Any, module: Path, lora: Path | None = None, scale: float = 1.0
) -> Any:
    """The same MODEL through AnimateDiff-Evolved's own loader nodes."""
    load_evolved(pack)
    for kind, file in (("animatediff_models", module), ("animatediff_motion_lora", lora)):
        if file is not None:
            folder_paths.add_model_folder_path(kind, str(file.parent))
            folder_paths.filename_list_cache.pop(kind, None)
    loras = None
    if lora is not None:
        loader = nodes.NODE_CLASS_MAPPINGS["ADE_AnimateDiffLoRALoader"]()
        (loras,) = loader.load_motion_lora(lora.name, scale)
    loader = nodes.NODE_CLASS_MAPPINGS["ADE_AnimateDiffLoaderGen1"]()
    return loader.load_mm_and_inject_params(model, module.name, "autoselect", motion_lora=loras)[0]


def load_evolved(pack: Path) -> None:
    """AnimateDiff-Evolved among this process's custom nodes, once."""
    if "ADE_AnimateDiffLoaderGen1" not in nodes.NODE_CLASS_MAPPINGS:
        asyncio.run(nodes.load_custom_node(str(pack)))
        _narrow_group_norms()


def _narrow_group_norms() -> None:
    """Have AnimateDiff-Evolved normalize across frames, with a v1 module, where AnimateDiff did.

    That is in residual blocks and at the output. It rewrites every GroupNorm of the UNet; those
    of the spatial transformers, told by their epsilon, get their own forward back.
    """
    sampling: Any
    (sampling,) = (m for n, m in sys.modules.items() if n.endswith("animatediff.sampling"))
    factory: Any = sampling.groupnorm_mm_factory
    per_frame = torch.nn.GroupNorm.forward

    def narrowed(*arguments: Any, **options: Any) -> Any:
        across = factory(*arguments, **options)
        return lambda norm, x: (per_frame if norm.eps < 1e-5 else across)(norm, x)

    sampling.groupnorm_mm_factory = narrowed


def inputs(size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """(noise (frames, 4, size, size), positive and negative text (1, 77, 768))."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(FRAMES, 4, size, size, generator=generator)
    positive, negative = (torch.randn(1, 77, 768, generator=generator) for _ in range(2))
    return noise, positive, negative


def sample(model: Any, steps: int = STEPS, size: int = SIZE, **options: Any) -> Tensor:
    """Latents (frames, 4, size, size) as the UNet knows them, by ComfyUI's Euler sampler."""
    noise, positive, negative = inputs(size)
    latents = comfy.sample.sample(
        model,
        noise,
        steps,
        CFG,
        "euler",
        "normal",
        [[positive, {}]],
        [[negative, {}]],
        torch.zeros_like(noise),
        seed=0,
        disable_pbar=True,
        **options,
    )
    return model.model.latent_format.process_in(latents)


class Reference:
    """diffusers' UNetMotionModel, and Euler steps written out."""

    def __init__(self, unet: Path, module: Path, lora: Adapter) -> None:
        weights, motion = read_unet(unet), read_motion_module(module)
        self.unet = build_unet(weights, motion, torch.float32, CPU)
        load_motion_adapter(self.unet, lora, "random")

    @torch.no_grad()
    def sample(self, scale: float, steps: int = STEPS) -> Tensor:
        set_motion_scale(self.unet, scale)
        noise, positive, negative = inputs()
        kept = DDPMScheduler(**SCHEDULE).alphas_cumprod
        table = ((1 - kept) / kept).sqrt()
        # ComfyUI's "normal" scheduler: evenly spaced timesteps, between them log-linear.
        times = torch.linspace(999, 0, steps)
        low, high = times.floor().long(), times.ceil().long()
        sigmas = torch.lerp(table[low].log(), table[high].log(), times.frac()).exp().tolist()
        text = torch.cat([negative, positive])
        x = noise * (1 + sigmas[0] ** 2) ** 0.5
        for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
            t = (table - sigma).abs().argmin()
            clip = (x / (1 + sigma**2) ** 0.5).transpose(0, 1)[None]
            unprompted, prompted = predict(self.unet, clip.repeat(2, 1, 1, 1, 1), t.repeat(2), text)
            epsilon = unprompted + CFG * (prompted - unprompted)
            x = x + (following - sigma) * epsilon.transpose(0, 1)
        return x


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
