"""How strongly a LoRA file means its pairs: alpha, rslora, patterns, and the config beside it.

A change is scale * up @ down, with scale = alpha / rank; alpha / sqrt(rank) for rslora; 1 where no
alpha is stated, as kohya, diffusers and ComfyUI have it. An alpha comes with each layer (kohya),
in the metadata (diffusers' ``lora_adapter_metadata``), or in ``adapter_config.json`` beside (peft).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common import files
from ...common.errors import UserError

METADATA = "lora_adapter_metadata"
CONFIG = "adapter_config.json"
PEFT_MODEL = "base_model.model."  # before every key that peft's save_pretrained writes
# peft's ways to start that take the start out of the network's own weights, too.
_FROM_THE_WEIGHTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
# peft's variants that compute something else from the same two matrices.
_VARIANTS = {
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "kasa_config": "KaSA",
    "arrow_config": "Arrow",
    "alora_invocation_tokens": "aLoRA",
}
_MOST_PATTERN = 300  # characters
_MOST_RANK = 2**20
# Parts of a pattern that cannot take for ever: a run of digits that a letter or a dot ends, and
# groups that only hold together.
_BOUNDED = re.compile(r"(?<![*+?}])(?:\\d|\[0-9\])[+*](?=\\\.|\.?[A-Za-z_]|$)|\(\?[:=!]")


@dataclass(frozen=True)
class Scales:
    """config: peft's, as the file or its neighbour states it; origin: which, for messages.

    prefix: of the layers' names in the file, which the config's patterns do not have.
    """

    origin: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    _made: dict[str, re.Pattern[str]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, file: Path, path: str, rank: int | None, alpha: Tensor | None) -> float:
        """The factor of one layer. path: its name in the file; rank: None for a whole matrix.

        Raises UserError for an alpha that is no number, and for patterns that cannot be read.
        """
        if alpha is not None:
            return 1.0 if rank is None else _number(file, alpha, path) / rank
        # LoRA's config has lora_alpha, that of LoHa and LoKr alpha.
        own = self.config.get("lora_alpha", self.config.get("alpha"))
        stated = self._by_pattern("alpha_pattern", path, own)
        if stated is None:
            return 1.0
        if rank is None:
            stated_rank = self._by_pattern("rank_pattern", path, self.config.get("r"))
            rank = _usable_rank(stated_rank)
        below = math.sqrt(rank) if self.config.get("use_rslora") else rank
        return self._finite(stated) / below

    def is_of(self, ranks: Mapping[str, int]) -> bool:
        """Whether a config is for a file of these ranks, by layer."""
        return all(
            self._by_pattern("rank_pattern", path, self.config.get("r")) == rank
            for path, rank in ranks.items()
        )

    def refuse_variants(self, file: Path) -> None:
        """Raise UserError where more than the two matrices is needed, and is not in the file."""
        start = self.config.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_FROM_THE_WEIGHTS):
            raise UserError(
                file, f"a LoRA that begins in the weights (init_lora_weights {start!r})",
                "one that adds to the network as it is",
                "Convert it with peft: save_pretrained(..., path_initial_model_for_weight_"
                "conversion=...).",
            )  # fmt: skip  # file, found, expected, next move
        variant = next((name for key, name in _VARIANTS.items() if self.config.get(key)), None)
        if variant:
            raise UserError(
                file, f"a {variant} (by {self.origin})", "a LoRA, LoHa, LoKr or DoRA",
                "Merge it with peft, and save the difference as a plain LoRA.",
            )  # fmt: skip  # file, found, expected, next move

    def _by_pattern(self, name: str, path: str, default: Any) -> Any:
        """peft's rule (utils/other.py, get_pattern_key): the first that matches the path's end."""
        patterns = self.config.get(name)
        path = path.removeprefix(self.prefix)
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            if self._compiled(pattern).match(path):
                return value
        return default

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        """Patterns come from strangers: those that could take for ever are refused."""
        if pattern in self._made:
            return self._made[pattern]
        quantifiers = len(re.findall(r"[*+?{]", _BOUNDED.sub("", pattern)))
        if quantifiers > 2 or len(pattern) > _MOST_PATTERN or re.search(r"\)[*+{]", pattern):
            raise self._unreadable(f"the pattern {pattern[:60]!r}", "names of layers")
        try:
            return self._made.setdefault(pattern, re.compile(rf"(.*\.)?({pattern})$"))
        except (re.error, RecursionError, OverflowError) as error:
            found = f"the pattern {pattern[:60]!r} ({error})"
            raise self._unreadable(found, "names of layers") from error

    def _finite(self, value: Any) -> float:
        try:
            number = float(value) if isinstance(value, int | float) else math.nan
        except OverflowError:
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise self._unreadable(f"{str(value)[:40]!r} as alpha", "a number")
        return number

    def _unreadable(self, found: str, expected: str) -> UserError:
        return UserError(self.origin, found, expected, "Correct it, or save the LoRA again.")


def stated_scales(
    file: Path, metadata: Mapping[str, str], keys: Iterable[str], ranks: Mapping[str, int]
) -> tuple[Scales, list[str]]:
    """What a file, or the config beside it, says of its scales; and notes for who uses it.

    ranks: by the layers' names in the file. Raises UserError for a config that cannot be read, or
    that means another arithmetic.
    """
    if METADATA in metadata:
        origin = f"{file.name}: its {METADATA}"
        config = _of_the_unet(_json(origin, metadata[METADATA]))
        scales = Scales(origin, config, prefix="unet.")
        scales.refuse_variants(file)
        return scales, []
    is_peft = any(key.startswith(PEFT_MODEL) for key in keys)
    if not is_peft and not file.name.startswith("adapter_model."):
        return Scales(), []
    beside = file.parent / CONFIG
    try:
        scales = Scales(str(beside), _json(str(beside), files.read_text(beside)))
    except OSError:
        return Scales(), [_unknown(file, f"{CONFIG}, which peft saves beside it, is not there")]
    except UnicodeDecodeError as error:
        raise _no_config(str(beside)) from error
    if not scales.is_of(ranks):
        return Scales(), [_unknown(file, f"the {CONFIG} beside it is for other ranks")]
    scales.refuse_variants(file)
    return scales, []


def _usable_rank(value: Any) -> int:
    return value if type(value) is int and 0 < value <= _MOST_RANK else 1


def _unknown(file: Path, reason: str) -> str:
    return (
        f"{file.name} says nothing of its alpha ({reason}): its scale is taken as 1. Put its own"
        f" {CONFIG} beside it for the scale that it was trained at."
    )


def _of_the_unet(config: dict[str, Any]) -> dict[str, Any]:
    """diffusers' pipelines put the network's name before each field, its models none."""
    named = {k.removeprefix("unet."): v for k, v in config.items() if k.startswith("unet.")}
    return named or config


def _json(origin: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_config(origin) from error
    if not isinstance(content, dict):
        raise _no_config(origin)
    return content


def _no_config(origin: str) -> UserError:
    return UserError(
        origin, "text that is no config", "peft's config, as JSON",
        "Correct or remove it: without it the LoRA's scale is taken as 1.",
    )  # fmt: skip  # file, found, expected, next move


def _number(file: Path, alpha: Tensor, path: str) -> float:
    if alpha.numel() != 1 or alpha.is_complex():
        raise UserError(
            file, f"{alpha.numel()} values as alpha of {path!r}", "one number",
            "Save the LoRA again.",
        )  # fmt: skip  # file, found, expected, next move
    return float(alpha.item())
