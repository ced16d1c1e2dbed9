"""What pages say of training's memory is what a dry run tells."""

import re
from pathlib import Path

import pytest

from helpers.pack import ROOT
from still_moving.benchmarks.training import loops
from still_moving.benchmarks.training.memory import GB, held_bytes, hollow_training, rows
from still_moving.training.network.tiers import TIERS
from still_moving.training.stage.dry_run import step_peak

TABLE = ROOT / "docs" / "results" / "tables" / "memory.md"


def told(kind: str, pixels: int) -> dict[str, list[float]]:
    """The table's numbers of each tier: weights, AdamW, a step, in all."""
    lines = (line.split(" | ") for line in TABLE.read_text(encoding="utf-8").splitlines())
    own = (cells for cells in lines if cells[0] == f"| {kind}" and cells[1] == str(pixels))
    return {cells[2]: [float(cell) for cell in cells[3:7]] for cells in own}


@pytest.mark.parametrize("kind", ["motion", "spatial"])
def test_the_nodes_page_says_what_the_table_says(kind):
    page = Path(ROOT / "web" / "docs" / f"StillMovingTrain{kind.capitalize()}Adapter.md")
    text = " ".join(page.read_text(encoding="utf-8").split())
    said = re.search(
        r"about (\d+) GB for 16 frames at 512x512; \*top\* and \*two\* need about (\d+) and (\d+)"
        r" GB, \*all\* about (\d+) GB. The network itself comes on top of that, about (\d+) GB",
        text,
    )
    assert said is not None
    table = told(kind, 512)
    assert [int(n) for n in said.groups()[:4]] == [round(table[tier][2]) for tier in TIERS]
    assert int(said[5]) == round(sum(table["all"][:2]))


@pytest.mark.parametrize("kind", ["motion", "spatial"])
def test_the_smallest_tier_meets_its_goals(kind):
    for pixels, goal in ((512, 8), (256, 5)):
        assert told(kind, pixels)["all"][3] < goal


@pytest.mark.slow
def test_a_table_has_a_line_for_each_tier():
    lines = rows("spatial", loops.Size(10, 4, 64), 8.0)
    assert [line.split(" | ")[2] for line in lines] == list(TIERS)
    assert lines[-1].endswith("under 8: yes |")


@pytest.mark.night
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["motion", "spatial"])
def test_the_table_is_what_a_dry_run_tells_at_the_real_size(kind):
    training = hollow_training(kind, loops.Size(1, 16, 512))
    for tier, (weights, adamw, step, _) in told(kind, 512).items():
        assert step_peak(training, training.tiers, tier) / GB == pytest.approx(step, rel=0.02)
        assert [n / GB for n in held_bytes(training)] == pytest.approx([weights, adamw], abs=0.01)
