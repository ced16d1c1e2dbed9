"""The network of a stage with what is trained on it, and its loss on planned samples."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNetMotionModel
from torch import Tensor

from ...adapters.files.keys import UNetLayout
from ..checks.clips import check_lengths
from ..checks.device import to_device
from ..network.switch import TemporalSwitch
from ..network.unet import predict, schedule_of
from ..recipes.recipe import Recipe, Source
from ..sets.store import Item, LoadedSet
from ..text.learned_words import LearnedWords
from .draws import Draw, held_out_draws
from .held_out import hold_out
from .losses import Velocity, debiased_weights, draw_noise, stage_loss
from .trainable import Trainable, set_scales
from .views import seen


class StageNetwork:
    """What a stage learns with and from; nothing here changes what is learned."""

    def __init__(
        self,
        recipe: Recipe,
        stage_index: int,
        unet: UNetMotionModel,
        layout: UNetLayout,
        sets: dict[str, LoadedSet],
        words: LearnedWords | None = None,
    ):
        self.recipe, self.stage_index, self.unet = recipe, stage_index, unet
        self.stage = recipe.stages[stage_index]
        self.device = next(unet.parameters()).device
        self.dtype = next(unet.parameters()).dtype
        still = [source.view == "frame" for source in self.stage.sources]
        self.time = TemporalSwitch(unet, not all(still)) if any(still) else None
        self.trainable = Trainable(unet, self.stage, layout, recipe.seed, words)
        self.items = [sets[source.set].items for source in self.stage.sources]
        for source, items in zip(self.stage.sources, self.items, strict=True):
            check_lengths(source, items, recipe.frames)
        pairs = [hold_out(items, recipe.seed) for items in self.items]
        # By source, as ``items``: those that are learned from, and those that are measured on.
        self.learned_items = [learned for learned, _ in pairs]
        self.held_out_items = [held_out for _, held_out in pairs]
        self.scheduler = DDPMScheduler(**schedule_of(recipe.prediction, recipe.zero_snr))
        of_velocity = recipe.prediction != "epsilon" and self.stage.loss == "epsilon_mse"
        kept = self.scheduler.alphas_cumprod
        self.weights = debiased_weights(kept, of_velocity).tolist() if self.stage.debiased else None

    def draw_loss(self, draw: Draw, items: list[Item]) -> Tensor:
        """The stage's loss on one planned sample, a 0-dim fp32 tensor."""
        source, item = self.stage.sources[draw.source], items[draw.item]
        clean = seen(item.latents, source, draw, self.recipe.frames)
        noise = draw_noise(tuple(clean.shape), draw.noise_seed, self.stage.noise.offset)
        t = torch.tensor([draw.timestep])
        noisy = self.scheduler.add_noise(clean, noise, t)  # type: ignore[arg-type]  # typed IntTensor there
        velocity = None
        if self.recipe.prediction == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, t)  # type: ignore[arg-type]  # typed IntTensor there
            kept = float(self.scheduler.alphas_cumprod[draw.timestep])
            there = to_device(target, self.device), to_device(noisy, self.device)
            velocity = Velocity(*there, kept)
        loss = self.loss_of(
            source,
            to_device(noisy, self.device, self.dtype),
            to_device(t, self.device),
            to_device(self.trainable.text(item)[None], self.device, self.dtype),
            to_device(noise, self.device),
            velocity,
        )
        return loss if self.weights is None else self.weights[draw.timestep] * loss

    def loss_of(
        self, source: Source, noisy: Tensor, timestep: Tensor, text: Tensor, noise: Tensor,
        velocity: Velocity | None = None,
    ) -> Tensor:  # fmt: skip  # a sample, several a line
        """The same of a sample that is on the device.

        noisy: (1, channels, frames, height, width) and text: (1, tokens, dim), in the network's
        number format; timestep: (1,); noise: as noisy, fp32; velocity: of a network that predicts
        v.
        """
        set_scales(self.unet, self.stage, source.scales)
        if self.time:
            self.time.on = source.view != "frame"
        half_in_part = self.trainable.full and self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=half_in_part):
            predicted = predict(self.unet, noisy, timestep, text)
        return stage_loss(self.stage, predicted, noise, velocity)

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss on fixed (item, timestep, noise) triples: comparable from start to end."""
        sizes = list(map(len, self.held_out_items))
        recipe = self.recipe
        draws = held_out_draws(recipe.seed, self.stage_index, sizes, recipe.held_out)
        losses = [self.draw_loss(d, self.held_out_items[d.source]) for d in draws]
        return sum(torch.stack(losses).tolist()) / len(losses)
