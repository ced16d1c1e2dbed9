"""What the fidelity benchmark asks of a world: its files, its prompts, and the truth of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ...demo.network import MotionNetwork
from ...training.sets.encoders import Encoder
from .methods import Size


class Ground(Protocol):
    """A world on which methods are compared.

    title: in sentences; command: that measures it. kinds: of clips, which are reported apart.
    titles: of the measures that are reported; a clip's measures have these names, and more.
    pixels: a side of the picture files; side: of a clip's frames, which are shown zoom times as
    large; frames: of a clip. Scenes are a world's own; each has its prompt.
    """

    title: str
    command: str
    full: Size
    quick: Size
    kinds: tuple[str, ...]
    titles: Mapping[str, str]
    base: Path
    motion_module: Path
    motion_adapter: Path
    pixels: int
    side: int
    zoom: int
    frames: int

    def scenes(self, token: str) -> list[Any]:
        """Prompts of a customization, all kinds mixed: what is tested comes first."""
        ...

    def plain_scenes(self) -> list[Any]:
        """Prompts of the base, mixed."""
        ...

    def customize(self, token: str, path: Path, steps: int) -> None:
        """Write a customized checkpoint."""
        ...

    def few(self, token: str) -> tuple[Tensor, list[Any]]:
        """The stills that customize: (n, 3, h, w) in 0..1, and what they show."""
        ...

    def stills(self, checkpoint: Path, scenes: Sequence[Any], seed: int) -> Tensor:
        """Pictures by a checkpoint alone, one a scene: (n, 3, h, w) in 0..1."""
        ...

    def write_stills(self, folder: Path, stills: Tensor, scenes: Sequence[Any]) -> Path:
        """Picture files with captions, as an artist has them."""
        ...

    def write_natural(self, folder: Path, count: int) -> Path:
        """Natural clips with captions, likewise."""
        ...

    def encoder(self) -> Encoder:
        """What reads them."""
        ...

    def network(self, checkpoint: Path, **adapters: Path | None) -> MotionNetwork: ...

    def clips(self, network: Any, scenes: Sequence[Any], seeds: Sequence[int]) -> Tensor:
        """One clip a scene: (n, frames, 3, h, w) in 0..1."""
        ...

    def measured(self, frames: Tensor, scene: Any) -> dict[str, float]:
        """What a clip shows of what was asked for; "fidelity", "motion" among it."""
        ...

    def kind(self, row: Mapping[str, Any]) -> str:
        """Of a clip, by its row."""
        ...

    def in_motion(self, measures: Mapping[str, Any]) -> float:
        """Fidelity, in full from the slowest natural motion on: a frozen clip counts nothing."""
        ...
