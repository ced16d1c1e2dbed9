"""One stage of a recipe as an object that takes steps; whoever drives it decides when to stop.

A step is a function of the plan and the parameters alone, so a run that was saved and loaded is
the run that was not.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import DDPMScheduler, UNetMotionModel
from torch import Tensor, nn

from ...adapters.files.keys import UNetLayout
from ...common.errors import UserError
from ..checks.clips import check_lengths
from ..checks.device import free_memory, to_device
from ..network.compiling import CompileTrial
from ..network.switch import TemporalSwitch
from ..network.tiers import MemoryTiers, choose_tier
from ..network.unet import SCHEDULE, predict
from ..recipes.recipe import Recipe
from ..sets.store import Item, LoadedSet
from ..text.learned_words import LearnedWords
from .checkpoints import Checkpoint, move_optimizer, optimizer_tensors, restore_optimizer
from .draws import Draw, held_out_draws, training_draw
from .held_out import hold_out
from .losses import draw_noise, stage_loss
from .steps import Launched, Step, finite, is_finite
from .team import Team
from .trainable import Trainable, set_scales
from .views import seen

_SMOOTHING = 0.98  # of the loss's moving average


class StageTraining:
    """The network, what is trained on it, and how far it is."""

    def __init__(
        self,
        recipe: Recipe,
        stage_index: int,
        unet: UNetMotionModel,
        layout: UNetLayout,
        sets: dict[str, LoadedSet],
        words: LearnedWords | None = None,
        team: Team | None = None,
    ):
        self.recipe, self.stage_index, self.unet = recipe, stage_index, unet
        self.stage, self.team = recipe.stages[stage_index], team or Team()
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
        values = self.trainable.parameters
        # Fused, it can be told by the device itself that a step shall change nothing.
        self.optimizer = torch.optim.AdamW(
            self.trainable.groups(), lr=self.stage.lr, weight_decay=recipe.weight_decay, fused=True
        )
        fp16 = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16, init_scale=2.0**14)
        self.scheduler = DDPMScheduler(**SCHEDULE)
        self.average = {n: p.detach().clone() for n, p in values.items()} if recipe.ema else {}
        self.tiers = MemoryTiers(unet)
        self.tiers.set(recipe.tier if recipe.tier != "auto" else self._auto_tier())
        self.step, self.loss_average, self.skips = 0, math.nan, 0
        self._launched: deque[Launched] = deque()
        self._last_read = 0.0
        self.trial = CompileTrial(self.tiers, self.device)

    def _auto_tier(self) -> str:
        sizes = (item.latents.shape[-2:] for items in self.items for item in items)
        height, width = max(sizes, key=math.prod)
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
        for module in self.trainable.beside:
            module.to(device)
        move_optimizer(self.optimizer, device)
        self.average = {name: value.to(device) for name, value in self.average.items()}

    def advance(self) -> Step:
        """Take one optimizer step and wait for what it did."""
        self.launch()
        return list(self.read())[-1]

    def launch(self) -> None:
        """Ask the device for one optimizer step; on a card the host does not wait for it.

        Out of memory: moves up a memory tier and repeats the step. Raises UserError when no tier
        is left.
        """
        started = time.perf_counter()
        losses = self._gradients()
        values = list(self.trainable.parameters.values())
        self.team.add_gradients(values)
        losses = self.team.gather(losses)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(values, self.recipe.clip_norm)
        self._update(finite(losses, norm))
        if self.scaler.is_enabled():
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._launched.append(Launched(self.step, started, self.tiers.tier, losses, norm))

    def read(self, behind: int = 0) -> Iterator[Step]:
        """What the steps did that were not read yet, all but the newest ``behind`` of them.

        Raises UserError after ``max_skips`` non-finite steps in a row.
        """
        while len(self._launched) > behind:
            launched = self._launched.popleft()
            loss, norm = launched.wait()
            seconds, self._last_read = launched.seconds(self._last_read), time.perf_counter()
            skipped = not is_finite(loss, norm)
            if skipped:
                self._skip(launched.step)
            else:
                self._smooth(loss)
            self.trial.look(seconds, self.stage.steps - self.step)
            yield Step(
                launched.step, loss, self.loss_average, norm, seconds, launched.tier, skipped
            )

    def _gradients(self) -> Tensor:
        """Of this process's samples; returns their losses, divided by their number.

        What goes wrong in a compiled network is tried again as it was written.
        """
        while True:
            try:
                return self._accumulate()
            except torch.OutOfMemoryError as error:
                self._more_room(error)
            except Exception:
                if not self.trial.give_up():
                    raise

    def _accumulate(self) -> Tensor:
        """Gradients of the step's samples, one after the other."""
        self.optimizer.zero_grad(set_to_none=True)
        count, losses = self.recipe.batch * self.team.size, []
        sizes = list(map(len, self.learned_items))
        for n in self.team.share(self.step, self.recipe.batch):
            draw = training_draw(self.recipe.seed, self.stage_index, self.stage, sizes, n)
            loss = self.draw_loss(draw, self.learned_items[draw.source]) / count
            self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _update(self, may: Tensor) -> None:
        """One step of AdamW, and of the average, where ``may`` (0-dim, bool) says so."""
        self.optimizer.found_inf = (~may).float()  # type: ignore[attr-defined]  # what GradScaler sets
        self.optimizer.step()
        for name, average in self.average.items():
            weight = may * (1 - self.recipe.ema)
            average.lerp_(self.trainable.parameters[name].detach(), weight)

    def _smooth(self, loss: float) -> None:
        self.skips = 0
        before = loss if math.isnan(self.loss_average) else self.loss_average
        self.loss_average = _SMOOTHING * before + (1 - _SMOOTHING) * loss

    def _skip(self, step: int) -> None:
        self.skips += 1
        if self.skips >= self.recipe.max_skips:
            raise UserError(
                f"step {step}", f"{self.skips} non-finite losses in a row", "numbers",
                "The last good checkpoint is kept. Lower the learning rate, or train in float32.",
            )  # fmt: skip  # subject, found, expected, next move

    def _more_room(self, error: BaseException) -> None:
        """Move up a memory tier, or say with the numbers that none is left."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tier = self.tiers.next()
        if tier is None:
            free = free_memory(self.device) / 2**30
            raise UserError(
                "memory", f"{free:.1f} GiB free and every memory tier tried",
                f"room for {self.recipe.frames} frames at this size",
                "Train at a lower resolution or on fewer frames, or close other programs.",
            ) from error  # fmt: skip  # subject, found, expected, next move
        self.tiers.set(tier)

    def draw_loss(self, draw: Draw, items: list[Item]) -> Tensor:
        """The stage's loss on one planned sample, a 0-dim fp32 tensor."""
        source, item = self.stage.sources[draw.source], items[draw.item]
        set_scales(self.unet, self.stage, source.scales)
        if self.time:
            self.time.on = source.view != "frame"
        clean = seen(item.latents, source, draw, self.recipe.frames)
        noise = draw_noise(tuple(clean.shape), draw.noise_seed, self.stage.noise.offset)
        t = torch.tensor([draw.timestep])
        noisy = self.scheduler.add_noise(clean, noise, t)  # type: ignore[arg-type]  # typed IntTensor there
        half_in_part = self.trainable.full and self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=half_in_part):
            predicted = predict(
                self.unet,
                to_device(noisy, self.device, self.dtype),
                to_device(t, self.device),
                to_device(self.trainable.text(item)[None], self.device, self.dtype),
            )
        return stage_loss(self.stage, predicted, to_device(noise, self.device))

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss on fixed (item, timestep, noise) triples: comparable from start to end."""
        sizes = list(map(len, self.held_out_items))
        recipe = self.recipe
        draws = held_out_draws(recipe.seed, self.stage_index, sizes, recipe.held_out)
        losses = [float(self.draw_loss(d, self.held_out_items[d.source])) for d in draws]
        return sum(losses) / len(losses)

    def values(self) -> dict[str, Tensor]:
        """What the stage has learned: the moving average where one is kept."""
        return self.average or {n: p.detach() for n, p in self.trainable.parameters.items()}

    def checkpoint(self, **meta: Any) -> Checkpoint:
        """The whole state; meta: what else the worker wants to find again.

        Read what the steps did first: the average of the losses is a part of it.
        """
        assert not self._launched
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
        saved = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
        if saved != {name: parameter.shape for name, parameter in here.items()}:
            raise UserError(
                "checkpoint", f"{len(saved)} tensors of another network",
                f"the {len(here)} that this job trains", "Start a new job.",
            )  # fmt: skip  # subject, found, expected, next move
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
