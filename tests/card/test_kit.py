"""The rest of ``make card`` on the pretended card, at a small size: it works at first try."""

import pytest

from helpers.kit import Line, ends, lines_of, measured

# The fused kernels that PyTorch may not offer to a pretended card.
NO_KERNEL = {"efficient", "cudnn"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[Line]:
    """Of all parts but the graphs, and one which takes minutes and has a test of its own."""
    return lines_of(tmp_path_factory.mktemp("kit") / "card.jsonl", "--skip", "graphs", "prompts")


def test_every_part_comes_to_its_end(lines):
    ended = ends(lines)
    assert {part: how for part, how in ended.items() if how[0] != "done"} == {}
    assert len(ended) == 5
    assert lines[0]["card"] == "Pretended Card"


@pytest.mark.parametrize(("kind", "ways"), [("Motion", 10), ("Spatial", 5)])
def test_every_way_to_train_is_measured(lines, kind, ways):
    rows = measured(lines, f"training, {kind} Adapter")
    assert len(rows) == ways
    failed = {row["way"]["temporal"]: row["failed"] for row in rows if "failed" in row}
    assert set(failed) <= NO_KERNEL
    assert all("kernel" in reason for reason in failed.values())
    assert all(r["seconds"] > 0 and r["peak_bytes"] > 0 for r in rows if "failed" not in r)


def test_a_smaller_tier_holds_less(lines):
    rows = measured(lines, "training, Spatial Adapter")[1:]
    peaks = {row["way"]["tier"]: row["peak_bytes"] for row in rows}
    assert peaks["none"] > peaks["top"] > peaks["two"] > peaks["all"]


def test_the_card_is_given_away(lines):
    rows = measured(lines, "park and unpark")
    assert [row["kind"] for row in rows] == ["motion", "spatial"]
    for row in rows:
        assert row["given_back_bytes"] > 0
        assert row["still_held_bytes"] == 0


def test_what_is_sampled_and_what_a_start_costs_is_timed(lines):
    *_, sampling = measured(lines, "sampling")
    assert sampling["device"].startswith("cuda")
    assert sampling["ratio_median"]["Spatial Adapter, merged"] > 0
    for row in measured(lines, "a job's first step"):
        assert 0 < row["process_s"] < row["built_s"] < row["step_s"]


def test_goals_are_unmeasured_at_a_size_that_says_nothing(lines):
    assert {goal["state"] for goal in lines[-1]["goals"]} == {"not measured"}


@pytest.mark.night
def test_prompts_are_timed_beside_a_job(tmp_path):
    lines = lines_of(tmp_path / "card.jsonl", "--only", "prompts")
    press, prompts = measured(lines, "prompts beside a job")
    assert press["click_to_first_step"]["set_there"]["whole"] > 0
    assert prompts["prompt_with_job_s"]["yield"] > 0
