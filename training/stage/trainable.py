"""What a stage trains: its parameters, their learning rates, their scale switch, their names."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn

from ...adapters.files import keys
from ...adapters.files.keys import UNetLayout
from ...adapters.low_rank import LowRank
from ..network import lora
from ..network.spatial import SpatialAdapters
from ..recipes.recipe import Stage
from ..recipes.sites import MOTION, is_temporal
from ..sets.store import Item
from ..text.learned_words import LearnedWords

WORDS = "words"  # the name of the trained embeddings among the parameters


class Trainable:
    """What a stage trains: named fp32 parameters, their scale switch and their export.

    words: describing words with their embeddings, where the stage trains them.
    """

    def __init__(
        self,
        unet: UNetMotionModel,
        stage: Stage,
        layout: UNetLayout,
        seed: int,
        words: LearnedWords | None = None,
    ):
        self.unet, self.stage, self.layout, self.words = unet, stage, layout, words
        self.site = stage.site
        self.spatial: SpatialAdapters | None = None
        if self.site.lora is not None:
            lora.add_lora(unet, self.site.lora, stage.rank, seed)
        elif self.site.policy:
            self.spatial = SpatialAdapters(unet, self.site.policy, stage.rank, seed)
            self.spatial.set_scale(1.0)
        for module in self.beside:
            module.to(next(unet.parameters()).device)
        self.parameters = self._parameters()
        for parameter in self.parameters.values():
            # In fp32, because updates of 2e-5 vanish in half precision; a copy, because a network
            # in the file's own precision shares memory with the weights that were read.
            parameter.data = parameter.data.to(torch.float32, copy=True)
            parameter.requires_grad_(True)

    @property
    def full(self) -> bool:
        """Whether weights are trained as they are; then nothing can be switched off."""
        return self.site.parameters is not None

    @property
    def beside(self) -> list[nn.Module]:
        """What is trained or read and is no part of the network."""
        return [module for module in (self.spatial, self.words) if module is not None]

    def _parameters(self) -> dict[str, nn.Parameter]:
        trained = self.site.parameters
        if trained is not None:
            return {n: p for n, p in self.unet.named_parameters() if trained(n)}
        halves = {
            f"{name}.{part}": parameter
            for name, pair in self.pairs().items()
            for part, parameter in zip(("down", "up"), pair, strict=True)
        }
        return halves if self.words is None else {**halves, WORDS: self.words.rows}

    def pairs(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """(down, up) by diffusers layer name, where the stage trains low-rank pairs."""
        if self.spatial is not None:
            return self.spatial.pairs()
        site = self.site.lora
        return {} if site is None else lora.lora_pairs(self.unet, site.name)

    def groups(self) -> list[dict[str, Any]]:
        """The parameters for an optimizer, in their order; embeddings have their own rate.

        No weight decay for those: it would pull a word towards nothing.
        """
        rest = [p for n, p in self.parameters.items() if n != WORDS]
        groups: list[dict[str, Any]] = [{"params": rest}] if rest else []
        if self.words is not None:
            own = {"lr": self.stage.words_lr, "weight_decay": 0.0}
            groups.append({"params": [self.words.rows], **own})
        return groups

    def text(self, item: Item) -> Tensor:
        """What the network reads of an item's caption: (tokens, dim)."""
        return item.text if self.words is None else self.words.text(item.caption)

    def set_scale(self, scale: float) -> None:
        """Show the network with (1) or without (0) what is trained; full weights are always on."""
        if self.site.lora is not None:
            lora.set_lora_scale(self.unet, self.site.lora.name, scale)
        if self.spatial is not None:
            self.spatial.set_scale(scale)

    def low_rank(self, values: dict[str, Tensor]) -> dict[str, LowRank]:
        """Named values as pairs by file layer name: AnimateDiff's (motion) or LDM's (spatial)."""
        rename = keys.motion_to_animatediff if self.site.temporal else self.layout.to_ldm
        names = [n.removesuffix(".down") for n in values if n.endswith(".down")]
        return {rename(n): LowRank(values[f"{n}.down"], values[f"{n}.up"]) for n in names}

    def weights(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named values of full weights by file name: AnimateDiff's (temporal) or LDM's."""
        return {
            keys.motion_to_animatediff(n) if is_temporal(n) else self.layout.to_ldm(n): t
            for n, t in values.items()
        }


def set_scales(unet: nn.Module, stage: Stage, scales: dict[str, float]) -> None:
    """Set the Motion Adapter's scale for one sample; an adapter not named is off."""
    if stage.has_motion_adapter:
        lora.set_motion_scale(unet, scales.get(MOTION, 0.0))
