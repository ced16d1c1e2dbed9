"""One stage of a recipe as an object that takes steps; whoever drives it decides when to stop.

A step is a function of the plan and the parameters alone, so a run that was saved and loaded is
the run that was not.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from diffusers import DDPMScheduler, UNetMotionModel
from torch import Tensor, nn

from ..adapters.errors import UserError
from ..adapters.keys import UNetLayout
from .cache.store import Item, TrainingSet
from .losses import LOSSES, draw_noise
from .memory import MemoryTiers, choose_tier, free_memory
from .model import SCHEDULE, predict
from .plan import Sample, held_out_samples, training_sample
from .recipe import Recipe
from .sites import Trainable, set_scales
from .state import Checkpoint, optimizer_tensors, restore_optimizer

_SMOOTHING = 0.98  # of the loss's moving average


@dataclass(frozen=True)
class Step:
    """What one optimizer step did."""

    step: int  # steps done, this one included
    loss: float
    loss_average: float
    grad_norm: float
    seconds: float
    tier: str
    skipped: bool  # a non-finite loss or gradient; nothing was changed


class StageRun:
    """The network, what is trained on it, and how far it is."""

    def __init__(
        self,
        recipe: Recipe,
        stage_index: int,
        unet: UNetMotionModel,
        layout: UNetLayout,
        sets: dict[str, TrainingSet],
    ):
        self.recipe, self.stage_index, self.unet = recipe, stage_index, unet
        self.stage = recipe.stages[stage_index]
        self.device = next(unet.parameters()).device
        self.dtype = next(unet.parameters()).dtype
        self.trainable = Trainable(unet, self.stage, layout, recipe.seed)
        self.items = [sets[source.set].items for source in self.stage.sources]
        self._check_lengths()
        self.split = [self._split(items) for items in self.items]
        values = self.trainable.parameters
        self.optimizer = torch.optim.AdamW(
            values.values(), lr=self.stage.lr, weight_decay=recipe.weight_decay
        )
        fp16 = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16, init_scale=2.0**14)
        self.scheduler = DDPMScheduler(**SCHEDULE)
        self.average = {n: p.detach().clone() for n, p in values.items()} if recipe.ema else {}
        self.tiers = MemoryTiers(unet)
        self.tiers.set(recipe.tier if recipe.tier != "auto" else self._auto_tier())
        self.step, self.loss_average, self.skips = 0, math.nan, 0

    def _check_lengths(self) -> None:
        for source, items in zip(self.stage.sources, self.items, strict=True):
            for item in items:
                if source.view == "clip" and len(item.latents) < self.recipe.frames:
                    raise UserError(
                        item.source,
                        f"{len(item.latents)} frames",
                        f"at least {self.recipe.frames} for natural clips",
                        "Cache the clips again with more frames, or train on fewer.",
                    )

    def _split(self, items: tuple[Item, ...]) -> tuple[list[Item], list[Item]]:
        """(training, held-out) items: a tenth is held out; small sets are used for both."""
        if len(items) < 10:
            return list(items), list(items)
        shuffled = Random(f"split/{self.recipe.seed}").sample(items, len(items))
        cut = math.ceil(len(items) / 10)
        return shuffled[cut:], shuffled[:cut]

    def _auto_tier(self) -> str:
        height, width = max(
            (tuple(item.latents.shape[-2:]) for items in self.items for item in items),
            key=math.prod,
        )
        latent = (self.recipe.frames, height, width)
        return choose_tier(self.unet, latent, free_memory(self.device))

    @property
    def done(self) -> bool:
        return self.step >= self.stage.steps

    @property
    def parked(self) -> bool:
        """Whether the network is away from its device."""
        return next(self.unet.parameters()).device != self.device

    def park(self) -> None:
        """Move everything that is large into CPU memory and give the device's back."""
        self._move(torch.device("cpu"))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def unpark(self) -> bool:
        """Move back; False when the device has no room, and then nothing is on it."""
        try:
            self._move(self.device)
        except torch.OutOfMemoryError:
            self.park()
            return False
        return True

    def _move(self, device: torch.device) -> None:
        nn.Module.to(self.unet, device)  # in place: the optimizer holds the same parameters
        if self.trainable.spatial is not None:
            self.trainable.spatial.to(device)
        for entry in self.optimizer.state.values():
            for name, value in entry.items():
                if value.dim():  # the step count stays on the CPU, where AdamW reads it
                    entry[name] = value.to(device)
        self.average = {name: value.to(device) for name, value in self.average.items()}

    def advance(self) -> Step:
        """Take one optimizer step.

        Out of memory: moves up a memory tier and repeats the step. Raises UserError when no tier
        is left, or after ``max_skips`` non-finite steps in a row.
        """
        started = time.perf_counter()
        while True:
            try:
                loss = self._accumulate()
                break
            except torch.OutOfMemoryError as error:
                self._more_room(error)
        self.scaler.unscale_(self.optimizer)
        values = list(self.trainable.parameters.values())
        norm = float(nn.utils.clip_grad_norm_(values, self.recipe.clip_norm))
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        if skipped:
            self._skip()
        else:
            self._update(loss)
        self.scaler.update() if self.scaler.is_enabled() else None
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        seconds = time.perf_counter() - started
        return Step(self.step, loss, self.loss_average, norm, seconds, self.tiers.tier, skipped)

    def _accumulate(self) -> float:
        """Gradients of the step's samples, one after the other; returns their mean loss."""
        self.optimizer.zero_grad(set_to_none=True)
        batch, total = self.recipe.batch, 0.0
        sizes = [len(training) for training, _ in self.split]
        for n in range(self.step * batch, (self.step + 1) * batch):
            sample = training_sample(self.recipe.seed, self.stage_index, self.stage, sizes, n)
            loss = self.sample_loss(sample, self.split[sample.source][0]) / batch
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        return total

    def _update(self, loss: float) -> None:
        self.scaler.step(self.optimizer)
        self.skips = 0
        before = loss if math.isnan(self.loss_average) else self.loss_average
        self.loss_average = _SMOOTHING * before + (1 - _SMOOTHING) * loss
        for name, average in self.average.items():
            average.lerp_(self.trainable.parameters[name].detach(), 1 - self.recipe.ema)

    def _skip(self) -> None:
        self.skips += 1
        if self.skips >= self.recipe.max_skips:
            raise UserError(
                f"step {self.step + 1}",
                f"{self.skips} non-finite losses in a row",
                "numbers",
                "The last good checkpoint is kept. Lower the learning rate, or train in float32.",
            )

    def _more_room(self, error: BaseException) -> None:
        """Move up a memory tier, or say with the numbers that none is left."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tier = self.tiers.next()
        if tier is None:
            free = free_memory(self.device) / 2**30
            raise UserError(
                "memory",
                f"{free:.1f} GiB free and every memory tier tried",
                f"room for {self.recipe.frames} frames at this size",
                "Train at a lower resolution or on fewer frames, or close other programs.",
            ) from error
        self.tiers.set(tier)

    def sample_loss(self, sample: Sample, items: list[Item]) -> Tensor:
        """The stage's loss on one planned sample, a 0-dim fp32 tensor."""
        source, item = self.stage.sources[sample.source], items[sample.item]
        set_scales(self.unet, self.stage, source.scales)
        clean = view(item.latents, source.view, sample.frame, self.recipe.frames)
        noise = draw_noise(tuple(clean.shape), sample.noise_seed, self.stage.noise.offset)
        t = torch.tensor([sample.timestep])
        noisy = self.scheduler.add_noise(clean, noise, t)  # type: ignore[arg-type]
        half_in_part = self.stage.train == "spatial.all" and self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=half_in_part):
            predicted = predict(
                self.unet,
                noisy.to(self.device, self.dtype),
                t.to(self.device),
                item.text[None].to(self.device, self.dtype),
            )
        return LOSSES[self.stage.loss](predicted, noise.to(self.device))

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss on fixed (item, timestep, noise) triples: comparable from start to end."""
        sizes = [len(held_out) for _, held_out in self.split]
        recipe = self.recipe
        samples = held_out_samples(recipe.seed, self.stage_index, sizes, recipe.held_out)
        losses = [float(self.sample_loss(s, self.split[s.source][1])) for s in samples]
        return sum(losses) / len(losses)

    def values(self) -> dict[str, Tensor]:
        """What the stage has learned: the moving average where one is kept."""
        return self.average or {n: p.detach() for n, p in self.trainable.parameters.items()}

    def checkpoint(self, **meta: Any) -> Checkpoint:
        """The whole state; meta: what else the worker wants to find again."""
        own = {
            "stage": self.stage_index,
            "step": self.step,
            "loss_average": None if math.isnan(self.loss_average) else self.loss_average,
            "skips": self.skips,
            "tier": self.tiers.tier,
            "scaler": self.scaler.state_dict(),
        }
        values = {n: p.detach() for n, p in self.trainable.parameters.items()}
        names = list(values)
        optimizer = optimizer_tensors(self.optimizer, names)
        return Checkpoint(values, optimizer, dict(self.average), {**meta, **own})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up a checkpoint of this stage. Raises UserError when it is of another network."""
        here = self.trainable.parameters
        if {n: p.shape for n, p in here.items()} != {
            n: t.shape for n, t in checkpoint.tensors.items()
        }:
            raise UserError(
                "checkpoint",
                f"{len(checkpoint.tensors)} tensors of another network",
                f"the {len(here)} that this job trains",
                "Start a new job.",
            )
        for name, tensor in checkpoint.tensors.items():
            here[name].data.copy_(tensor)
        for name, tensor in checkpoint.average.items():
            self.average[name].copy_(tensor)
        restore_optimizer(self.optimizer, list(here), checkpoint.optimizer)
        meta = checkpoint.meta
        self.step, self.skips = meta["step"], meta["skips"]
        self.loss_average = math.nan if meta["loss_average"] is None else meta["loss_average"]
        self.scaler.load_state_dict(meta["scaler"])
        if self.recipe.tier == "auto":
            self.tiers.set(meta["tier"])


def view(latents: Tensor, kind: str, position: float, frames: int) -> Tensor:
    """How a source sees an item.

    latents: (n, channels, height, width); position: 0..1. Returns (1, channels, frames, height,
    width): one frame repeated ("frozen", the frame at ``position``), or ``frames`` consecutive
    ones ("clip", starting anywhere that leaves enough).
    """
    if kind == "frozen":
        chosen = latents[int(position * len(latents))].expand(frames, -1, -1, -1)
    else:
        start = int(position * (len(latents) - frames + 1))
        chosen = latents[start : start + frames]
    return chosen.transpose(0, 1)[None]
