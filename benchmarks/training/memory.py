"""What training takes of a card's memory, tier by tier, told by dry runs: no card is needed.

``python benchmarks training.memory [--docs PAGE]``. SD1.5's real layers with a v2 motion module,
batch 1, without numbers inside. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ...training.network.tiers import TIERS
from ...training.stage.dry_run import step_peak
from ...training.stage.loop import StageTraining
from ..common.results_page import TABLES, commit, put_tables
from . import loops

KINDS = ("motion", "spatial")
PIXELS = {512: 8.0, 256: 5.0}  # and the goal in GB for the smallest tier
FRAMES = 16
GB = 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, help=f"page to write ({TABLES.name}/memory.md)")
    parser.add_argument("--divide", type=int, default=1, help="SD1.5's widths by this; for tests")
    options = parser.parse_args()
    text = markdown(options.divide)
    if options.docs:
        put_tables(options.docs, "Memory of training", text)
    print(text)


def markdown(divide: int) -> str:
    head = (
        f"{FRAMES} frames, batch 1, bfloat16, torch {torch.__version__}, commit {commit()}; in GB"
    )
    titles = "| | size | tier | weights | AdamW | a step | in all | goal |"
    text = [head, "", titles, "|---" * 8 + "|"]
    for kind in KINDS:
        for pixels, goal in PIXELS.items():
            text += rows(kind, loops.Size(divide, FRAMES, pixels), goal)
    return "\n".join(text)


def rows(kind: str, size: loops.Size, goal: float) -> list[str]:
    """A line a tier."""
    training = hollow_training(kind, size)
    weights, adamw = (held / GB for held in held_bytes(training))
    lines = []
    for tier in TIERS:
        step = step_peak(training, training.tiers, tier) / GB
        whole = weights + adamw + step
        last = "" if tier != TIERS[-1] else f"under {goal:g}: {'yes' if whole < goal else 'no'}"
        numbers = " | ".join(f"{n:.2f}" for n in (weights, adamw, step, whole))
        lines.append(f"| {kind} | {size.pixels} | {tier} | {numbers} | {last} |")
    return lines


def hollow_training(kind: str, size: loops.Size) -> StageTraining:
    """A stage whose frozen weights have sizes alone; what it trains is there."""

    def hollow(_name: str, shape: tuple[int, ...], _generator: torch.Generator) -> Tensor:
        return torch.zeros((), dtype=torch.bfloat16).expand(shape)

    return loops.new_training(kind, size, torch.device("cpu"), torch.bfloat16, fill=hollow)


def held_bytes(training: StageTraining) -> tuple[int, int]:
    """Of the network with what is trained, and of AdamW's state: held between two steps."""
    modules = [training.unet, *training.trainable.beside]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    whole = {id(t): t.numel() * t.element_size() for t in tensors}
    state = [v for entry in training.optimizer.state.values() for v in entry.values()]
    return sum(whole.values()), sum(v.nbytes for v in state)


if __name__ == "__main__":
    main()
