"""The whole kit of ``make card`` on the pretended card, at a small size: it works at first try."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import card
from helpers.checkout import comfyui

ROOT = Path(__file__).resolve().parents[2]
MODES, WEIGHTS, GRAPHS, AGAIN = ("dynamic", "half", "novram"), ("fp16", "bf16"), 10, 4
# The fused kernels that PyTorch does not offer to the pretended card.
NO_KERNEL = {"efficient", "cudnn"}

pytestmark = pytest.mark.slow


def lines_of(out: Path, *arguments: str) -> list[dict]:
    """Every line that the kit wrote into its file."""
    command = [sys.executable, str(ROOT / "benchmarks"), "card", "--dry", "--minutes", "20"]
    environment = {**os.environ, **card.environment(), "COMFYUI_PATH": str(comfyui())}
    subprocess.run([*command, "--out", str(out), *arguments], env=environment, check=True)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[dict]:
    """Of all parts but one, which takes minutes and has a test of its own."""
    return lines_of(tmp_path_factory.mktemp("kit") / "card.jsonl", "--skip", "prompts")


def measured(lines: list[dict], part: str) -> list[dict]:
    return [line for line in lines if line["part"] == part and "ended" not in line]


def test_every_part_comes_to_its_end(lines):
    ended = {line["part"]: (line["ended"], line.get("stderr")) for line in lines if "ended" in line}
    assert {part: how for part, how in ended.items() if how[0] != "done"} == {}
    assert len(ended) == 9
    assert lines[0]["card"] == "Pretended Card"


@pytest.mark.parametrize("mode", MODES)
def test_ten_graphs_are_the_cpus_in_any_order(lines, mode):
    """Plain and moving models that load and unload each other, in both orders."""
    rows = measured(lines, f"graphs, {mode}")
    assert [row["weights"] for row in rows] == list(WEIGHTS)
    for row in rows:
        assert row["failed"] == {}
        assert row["graphs"] == GRAPHS + AGAIN
        assert row["beyond"] == []


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
    (sampling,) = measured(lines, "sampling")
    assert sampling["device"].startswith("cuda")
    assert sampling["ratio_median"]["Spatial Adapter, merged"] > 0
    for row in measured(lines, "a job's first step"):
        assert 0 < row["process_s"] < row["built_s"] < row["step_s"]


def test_goals_are_unmeasured_at_a_size_that_says_nothing(lines):
    goals = {goal["goal"]: goal["state"] for goal in lines[-1]["goals"]}
    assert goals.pop("graphs off by more than rounding: 0") == "reached"
    assert set(goals.values()) == {"not measured"}


@pytest.mark.night
def test_prompts_are_timed_beside_a_job(tmp_path):
    (row,) = measured(
        lines_of(tmp_path / "card.jsonl", "--only", "prompts"), "prompts beside a job"
    )
    assert row["click_to_first_step"]["set_there"]["whole"] > 0
    assert row["prompt_with_job_s"]["yield"] > 0
