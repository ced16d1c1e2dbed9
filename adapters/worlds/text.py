"""A world's words, through the two classes that ComfyUI makes any CLIP of."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.sd
import comfy.supported_models_base
import torch
from comfy.sd1_clip import escape_important, token_weights, unescape_important
from torch import Tensor, nn

from ...worlds.known import SHAPES
from ...worlds.layout import WorldLayout

PADDING = ""  # the token whose row is zero

Token = tuple[Any, ...]  # (word, weight) or (word, weight, number of the word in the prompt)


class WorldTokenizer:
    """Splits a prompt into words, in sections of as many as the world reads at once."""

    def __init__(
        self, world: WorldLayout, embedding_directory: Any = None, tokenizer_data: Any = None
    ) -> None:
        self.world = world

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, **_: Any
    ) -> dict[str, list[list[Token]]]:
        """Weights are written as for any CLIP, for example (red:1.2)."""
        tokens: list[Token] = []
        for part, weight in token_weights(escape_important(text), 1.0):
            for word in unescape_important(part).replace(",", " ").split():
                tokens.append((word, weight, len(tokens) + 1))
        size = self.world.words.tokens
        sections = [tokens[i : i + size] for i in range(0, max(len(tokens), 1), size)]
        sections[-1] += [(PADDING, 1.0, 0)] * (size - len(sections[-1]))
        if not return_word_ids:
            sections = [[token[:2] for token in section] for section in sections]
        return {self.world.name: sections}

    def untokenize(self, tokens: list[Token]) -> list[tuple[Token, str]]:
        return [(token, token[0]) for token in tokens]

    def state_dict(self) -> dict[str, Tensor]:
        return {}


class WorldTextModel(nn.Module):
    """Words to rows. It has no weights, so there is nothing to load, patch or skip layers of."""

    def __init__(
        self, world: WorldLayout, device: Any = "cpu", dtype: Any = None, model_options: Any = None
    ) -> None:
        super().__init__()
        self.world = world
        self.dtypes: set[torch.dtype] = set()

    def set_clip_options(self, options: dict[str, Any]) -> None:
        pass

    def reset_clip_options(self) -> None:
        pass

    def encode_token_weights(self, tokens: dict[str, list[list[Token]]]) -> tuple[Tensor, Tensor]:
        """Returns the words' rows (1, tokens, dim) and a pooled output of zeros.

        A weight scales its word's row; a longer prompt has more rows, in whole sections.
        """
        rows, words = [], self.world.words
        for token in [token for section in tokens[self.world.name] for token in section]:
            rows.append(token[1] * words.encode(token[0])[0])
        return torch.stack(rows)[None], torch.zeros(1, words.dim)

    def load_sd(self, sd: Any) -> tuple[list[str], list[str]]:
        return [], []


def clip_target(world: WorldLayout) -> comfy.supported_models_base.ClipTarget:
    return comfy.supported_models_base.ClipTarget(
        partial(WorldTokenizer, world), partial(WorldTextModel, world)
    )


def load_clip(world: WorldLayout = SHAPES) -> comfy.sd.CLIP:
    """The world's words as a CLIP. It runs on the CPU, where it is exact and costs nothing."""
    cpu = torch.device("cpu")
    return comfy.sd.CLIP(
        clip_target(world),
        model_options={"load_device": cpu, "offload_device": cpu, "dtype": torch.float32},
    )
