"""One stage of a recipe as an object that takes steps; whoever drives it decides when to stop.

A step is a function of the plan and the parameters alone, so a run that was saved and loaded is
the run that was not.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn

from ...adapters.files.keys import UNetLayout
from ...common.errors import UserError
from ..checks.device import give_back, is_out_of_memory
from ..network.compiling import CompileTrial
from ..network.tiers import MemoryTiers
from ..recipes.recipe import Recipe
from ..sets.store import LoadedSet
from ..text.learned_words import LearnedWords
from . import optimizer as adamw
from .checkpoints import Checkpoint
from .draws import training_draw
from .dry_run import auto_tier
from .network import StageNetwork
from .room import advice, attempt, no_room, room_for
from .steps import Launched, Step, finite, is_finite
from .team import Team

_SMOOTHING = 0.98  # of the loss's moving average


class StageTraining(StageNetwork):
    """A stage in training, and how far it is."""

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
        super().__init__(recipe, stage_index, unet, layout, sets, words)
        self.team = team or Team()
        self.optimizer, self.scaler = (
            self.new_optimizer(),
            adamw.new_scaler(self.device, self.dtype),
        )
        values = self.trainable.parameters
        self.average = {n: p.detach().clone() for n, p in values.items() if recipe.ema}
        self.tiers = MemoryTiers(unet)
        self._choosing = recipe.tier == "auto"  # before the first step, when all else is there
        self.tiers.set("none" if self._choosing else recipe.tier)
        self.step, self.loss_average, self.skips = 0, math.nan, 0
        self._launched: deque[Launched] = deque()
        self._last_read = 0.0
        self.trial = CompileTrial(self.tiers, self.device)

    def new_optimizer(self) -> torch.optim.Optimizer:
        """With its state. Raises UserError where that has no room."""
        size = 8 * sum(p.numel() for p in self.trainable.parameters.values()) / 2**30
        needed = f"{size:.1f} GiB, and half as much for gradients"
        with room_for("for AdamW's two moments", self.device, needed, advice(self.trainable.full)):
            return adamw.new_adamw(self.trainable, self.recipe, self.stage)

    @property
    def done(self) -> bool:
        return self.step >= self.stage.steps

    @property
    def parked(self) -> bool:
        """Whether the network is away from its device."""
        return next(self.unet.parameters()).device != self.device

    def park(self) -> None:
        """Move everything into CPU memory and give the device's back."""
        self._move(torch.device("cpu"))
        self.scaler = adamw.renewed(self.scaler, self.device)
        self.team.park()
        give_back(self.device)

    def unpark(self) -> bool:
        """Move back; False when the device has no room, and then nothing is on it."""
        try:
            self._move(self.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return True
        self.park()
        return False

    def _move(self, device: torch.device) -> None:
        nn.Module.to(self.unet, device)  # in place: the optimizer holds the same parameters
        for module in self.trainable.beside:
            module.to(device)
        adamw.move_optimizer(self.optimizer, device)
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
        if self._choosing:
            self.tiers.set(auto_tier(self, self.tiers))
            self._choosing = False
        started = time.perf_counter()
        values = list(self.trainable.parameters.values())
        while True:
            losses = self._gradients()
            self.team.add_gradients(values)
            self.team.gather(losses)
            settled = attempt(partial(self._settle, started, losses))
            # Parameters are changed in every process or in none, so that the step can be repeated.
            if self.team.all(settled is not None) and settled is not None:
                break
            self._drop()
            if settled is None:
                self._more_room()
        launched, stop, weight = settled
        self._update(stop, weight)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        launched.sent()
        self._launched.append(launched)

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
        """Of this process's samples, repeated as often as it must be: others of a team wait.

        Returns the losses, divided by their number, at their place among those of the team.
        """
        while (losses := attempt(self._own_gradients)) is None:
            self._drop()
            self._more_room()
        return losses

    def _own_gradients(self) -> Tensor:
        """What goes wrong in a compiled network is tried again as it was written."""
        try:
            return self._accumulate()
        except Exception as error:
            if is_out_of_memory(error) or not self.trial.give_up():
                raise
        return self._accumulate()

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
        self.team.make_room(self.trainable.parameters.values())
        return self.team.place(torch.stack(losses))

    def _settle(self, started: float, losses: Tensor) -> tuple[Launched, Tensor, Tensor]:
        """All that the update takes, so that it allocates nothing: it cannot be done by halves.

        losses: of all processes. Returns the step and what ``_update`` is given.
        """
        self.scaler.unscale_(self.optimizer)
        values = list(self.trainable.parameters.values())
        norm = nn.utils.clip_grad_norm_(values, self.recipe.clip_norm)
        may = finite(losses, norm)
        launched = Launched(self.step + 1, started, self.tiers.tier, losses, norm)
        return launched, (~may).float(), may * (1 - self.recipe.ema)

    def _update(self, stop: Tensor, weight: Tensor) -> None:
        """One step of AdamW, and of the average by ``weight``; nothing at all where ``stop`` is 1.

        Both 0-dim and fp32, on the device.
        """
        self.optimizer.found_inf = stop  # type: ignore[attr-defined]  # what GradScaler sets
        self.optimizer.step()
        del self.optimizer.found_inf  # type: ignore[attr-defined]  # it would stay on the card
        for name, average in self.average.items():
            average.lerp_(self.trainable.parameters[name].detach(), weight)

    def _drop(self) -> None:
        """Let go of a step that was begun, as if it had not been."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler = adamw.renewed(self.scaler, self.device)  # it remembers what it has unscaled
        give_back(self.device)

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

    def _more_room(self) -> None:
        """Move up a memory tier, or say with the numbers that none is left."""
        tier = self.tiers.next()
        if tier is None:
            doing = f"for step {self.step + 1} in every memory tier"
            needed = f"room for {self.recipe.frames} frames at this size"
            raise no_room(doing, self.device, needed, advice(self.trainable.full))
        self.tiers.set(tier)

    def held_out_loss(self) -> float:
        """Mean loss on fixed samples. Raises UserError where even that finds no room."""
        doing = f"to measure the held-out loss after step {self.step}"
        with room_for(doing, self.device, "room without gradients", advice(self.trainable.full)):
            return super().held_out_loss()

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
            "format": [self.device.type, str(self.dtype).removeprefix("torch.")],
        }
        values = {n: p.detach() for n, p in self.trainable.parameters.items()}
        optimizer = adamw.optimizer_tensors(self.optimizer, list(values))
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
        adamw.restore_optimizer(self.optimizer, list(here), checkpoint.optimizer)
        meta = checkpoint.meta
        self.step, self.skips = meta["step"], meta["skips"]
        self.loss_average = math.nan if meta["loss_average"] is None else meta["loss_average"]
        adamw.restore_scaler(self.scaler, meta["scaler"])
        if self._choosing and self.step:
            self._choosing = False
            self.tiers.set(meta["tier"])
