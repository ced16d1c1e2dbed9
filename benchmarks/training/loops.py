"""Two loops over one random network of SD1.5's topology: a tutorial's, and the trainer's.

Both loops train the same parameters on the same samples of the plan, so their gradients
can be held against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from ...adapters.files.checkpoint import UNetWeights
from ...adapters.files.keys import SD15
from ...adapters.files.motion_module import MotionModule, MotionModuleInfo
from ...adapters.files.templates import Shapes, module_shapes, unet_shapes
from ...training.network.lora import add_motion_adapter, motion_pairs, set_motion_scale
from ...training.network.unet import SCHEDULE, build_unet, predict
from ...training.recipes import recipe as recipes
from ...training.recipes.recipe import Recipe
from ...training.sets.store import Item, LoadedSet
from ...training.stage.draws import Draw, training_draw
from ...training.stage.loop import StageTraining
from ...training.stage.views import seen

MULTIPLES = (1, 2, 4, 4)  # SD1.5's channels a level, over those of the first
ITEMS, TOKENS, LATENT_SCALE = 4, 77, 0.18215


@dataclass(frozen=True)
class Size:
    """How large everything is. divide: what SD1.5's widths are divided by."""

    divide: int
    frames: int
    pixels: int

    @property
    def width(self) -> int:
        return 320 // self.divide

    @property
    def text(self) -> int:
        return 768 if self.divide == 1 else math.ceil(768 / self.divide / 16) * 16

    @property
    def rank(self) -> int:
        """Of a Spatial Adapter: the paper's 64, or as large a share of the channels."""
        return math.ceil(64 / self.divide)

    @property
    def latent(self) -> int:
        return self.pixels // 8


def new_training(
    kind: str,
    size: Size,
    device: torch.device,
    dtype: torch.dtype,
    training_type: type = StageTraining,
    fill: Callable[[str, tuple[int, ...], torch.Generator], Tensor] | None = None,
) -> StageTraining:
    """A stage over a network that exists only here: kind "motion" or "spatial".

    fill: a weight by its name and shape; random ones otherwise.
    """
    generator = torch.Generator(device).manual_seed(0)
    channels = tuple(size.width * multiple for multiple in MULTIPLES)
    info = MotionModuleInfo("v2", channels, True, 32, False)

    def tensors(shapes: Shapes) -> dict[str, Tensor]:
        return {n: (fill or _random)(n, s, generator).to(dtype) for n, s in shapes.items()}

    image = tensors(unet_shapes(SD15, size.width, MULTIPLES, size.text))
    weights = UNetWeights(image, SD15, "sd15", "0" * 64, "random")
    motion = MotionModule(info, tensors(module_shapes(channels, 2, True, 32)), "0" * 64, "random")
    unet = build_unet(weights, motion, dtype, device)
    recipe = new_recipe(kind, size)
    if recipe.stages[0].use:
        add_motion_adapter(unet, 4, seed=1)
        for pair in motion_pairs(unet).values():
            for parameter in pair:
                # As a finished one: it does something, and is not trained.
                parameter.requires_grad_(False).add_(0.01)
    return training_type(recipe, 0, unet, SD15, new_sets(size))


def new_recipe(kind: str, size: Size) -> Recipe:
    plain = {"frames": size.frames, "tier": "none"}
    if kind == "motion":
        return recipes.motion_adapter(**plain)
    return recipes.spatial_adapter(rank=size.rank, **plain)


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """On the generator's device: norms of 1, small biases, weights of variance 1 / fan-in."""
    if len(shape) == 1 and name.endswith(".weight"):
        return torch.ones(shape, device=generator.device)
    values = torch.randn(shape, generator=generator, device=generator.device)
    return 0.01 * values if len(shape) == 1 else values / math.sqrt(math.prod(shape[1:]))


def new_sets(size: Size) -> dict[str, LoadedSet]:
    generator = torch.Generator().manual_seed(1)

    def new_set(kind: str, frames: int) -> LoadedSet:
        latent = (frames, 4, size.latent, size.latent)
        items = tuple(
            Item(
                f"{kind} {i}",
                "a caption",
                torch.randn(latent, generator=generator),
                torch.randn(TOKENS, size.text, generator=generator),
                f"{i}",
            )
            for i in range(ITEMS)
        )
        return LoadedSet(kind, "random", items)

    stills, clips = new_set("stills", 1), new_set("clips", size.frames)
    return {"frames": clips, "customized": stills, "natural": clips}


class Encoders:
    """What a loop without a cache runs every step: SD1.5's VAE and CLIP, random inside."""

    def __init__(self, size: Size, device: torch.device):
        full = size.divide == 1
        widths = tuple((128 if full else 16) * multiple for multiple in MULTIPLES)
        vae_options: dict[str, Any] = {  # diffusers annotates its tuples as those of one block
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": widths,
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32 if full else 8,
        }
        torch.manual_seed(2)
        with torch.device(device):
            self.vae = AutoencoderKL(**vae_options)
            self.clip = CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=size.text,
                    intermediate_size=4 * size.text,
                    num_hidden_layers=12 if full else 2,
                    num_attention_heads=12 if full else 4,
                    vocab_size=49408 if full else 1000,
                    bos_token_id=0,
                    eos_token_id=1,
                )
            )
        for module in (self.vae, self.clip):
            module.requires_grad_(False).eval()
        generator = torch.Generator().manual_seed(3)
        # Eight bits a channel, as a decoded photo or clip has; decoding is not counted.
        clip = (size.frames, 3, size.pixels, size.pixels)
        self.pixels = [
            torch.randint(256, clip, dtype=torch.uint8, generator=generator) for _ in range(ITEMS)
        ]
        self.token_ids = torch.randint(1000, (1, TOKENS), generator=generator)

    @torch.no_grad()
    def latents(self, pixels: Tensor) -> Tensor:
        """(frames, 3, height, width), bytes, to (frames, 4, height / 8, width / 8)."""
        scaled = pixels.to(self.vae.device).float() / 127.5 - 1
        (distribution,) = self.vae.encode(scaled, return_dict=False)
        return distribution.mode() * LATENT_SCALE

    @torch.no_grad()
    def text(self) -> Tensor:
        """(1, tokens, dim)."""
        return self.clip(self.token_ids.to(self.clip.device)).last_hidden_state


class PlainLoop:
    """What a tutorial of diffusers and peft gives, on the network and parameters of a run.

    encoders: run every step; None takes the run's cached latents and text. A frozen clip is
    encoded once and repeated, which a tutorial may not think of: it makes this loop faster.
    """

    def __init__(self, training: StageTraining, encoders: Encoders | None, autocast: bool):
        self.training, self.encoders, self.autocast = training, encoders, autocast
        self.optimizer = torch.optim.AdamW(
            training.trainable.parameters.values(),
            lr=training.stage.lr,
            weight_decay=training.recipe.weight_decay,
        )
        self.scheduler = DDPMScheduler(**SCHEDULE)
        self.step = 0

    def loss(self, n: int, noise: Tensor | None = None) -> Tensor:
        """Of the plan's n-th sample; noise: drawn on the device where none is given."""
        training = self.training
        sizes = list(map(len, training.learned_items))
        draw = training_draw(training.recipe.seed, 0, training.stage, sizes, n)
        source = training.stage.sources[draw.source]
        set_motion_scale(training.unet, source.scales.get("motion", 0.0))
        with torch.autocast(training.device.type, torch.bfloat16, enabled=self.autocast):
            clean, text = self._inputs(draw)
            if noise is None:
                noise = torch.randn_like(clean)
                noise += 0.1 * torch.randn((*clean.shape[:2], 1, 1, 1), device=training.device)
            t = torch.tensor([draw.timestep], device=training.device)
            noisy: Any = self.scheduler.add_noise(clean, noise, t)  # type: ignore[arg-type]  # typed IntTensor there
            predicted = predict(training.unet, noisy, t, text)
        return F.mse_loss(predicted.float(), noise.float())

    def _inputs(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """(clean latents (1, 4, frames, h, w), text (1, tokens, dim)) on the device."""
        training, source = self.training, self.training.stage.sources[draw.source]
        if self.encoders is None:
            item = training.learned_items[draw.source][draw.item]
            clean = seen(item.latents, source, draw, training.recipe.frames)
            return clean.to(training.device), item.text[None].to(training.device)
        pixels = self.encoders.pixels[draw.item]
        if source.view == "frozen":
            frame = pixels[int(draw.frame * len(pixels))][None]
            encoded = self.encoders.latents(frame).expand(training.recipe.frames, -1, -1, -1)
        else:
            encoded = self.encoders.latents(pixels)
        return encoded.transpose(0, 1)[None].float(), self.encoders.text().float()

    def advance(self) -> float:
        """One step, and its loss."""
        loss = self.loss(self.step)
        loss.backward()
        values = list(self.training.trainable.parameters.values())
        nn.utils.clip_grad_norm_(values, self.training.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item()


class SyncedTraining(StageTraining):
    """The trainer's loop without two levers: AdamW unfused, and the host asks before each step."""

    def new_optimizer(self) -> torch.optim.Optimizer:
        groups = self.trainable.groups()
        return torch.optim.AdamW(groups, lr=self.stage.lr, weight_decay=self.recipe.weight_decay)

    def _update(self, stop: Tensor, weight: Tensor) -> None:
        if not bool(stop):
            self.optimizer.step()
