"""A set's progress on its node: ComfyUI's own bar."""

from __future__ import annotations

import comfy.utils

from ...training.sets.progress import ENCODING, LOOKING

PHASES = (LOOKING, ENCODING)  # files are decoded in both
FULL = 1000


class NodeProgress:
    """What ``build_set`` tells its progress to, while a node runs. Cancel raises through it."""

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(FULL * len(PHASES))

    def __call__(self, phase: str, done: int, total: int) -> None:
        share = done / total if total else 1.0
        self._bar.update_absolute(round(FULL * (PHASES.index(phase) + share)))
