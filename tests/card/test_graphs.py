"""Ten graphs in ComfyUI on the pretended card against the same on a CPU: the kit's own.

With DynamicVRAM, with half of each model loaded, and with no memory for weights.
"""

import pytest

from helpers.kit import Line, ends, lines_of, measured

MODES, WEIGHTS, GRAPHS, AGAIN = ("dynamic", "half", "novram"), ("fp16", "bf16"), 10, 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[Line]:
    return lines_of(tmp_path_factory.mktemp("graphs") / "card.jsonl", "--only", "graphs")


@pytest.mark.parametrize("mode", MODES)
def test_ten_graphs_are_the_cpus_in_any_order(lines, mode, note_difference):
    """Plain and moving models that load and unload each other, in both orders."""
    assert set(ends(lines).values()) == {("done", None)}
    rows = measured(lines, f"graphs, {mode}")
    assert [row["weights"] for row in rows] == list(WEIGHTS)
    for row in rows:
        note_difference(f"latents of ten graphs, {mode}, {row['weights']}", row["worst_off"])
        assert row["failed"] == {}
        assert row["graphs"] == GRAPHS + AGAIN
        assert row["beyond"] == []


def test_their_goal_is_reached_and_no_other(lines):
    goals = {goal["goal"]: goal["state"] for goal in lines[-1]["goals"]}
    assert goals.pop("graphs off by more than rounding: 0") == "reached"
    assert set(goals.values()) == {"not measured"}
