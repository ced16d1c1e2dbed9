"""The fidelity benchmark's sums: a frozen clip cannot win, pairs are pairs, pages keep the rest."""

import pytest

from still_moving.benchmarks.common.results_page import TABLES, put_tables
from still_moving.benchmarks.fidelity.methods import (
    FULL,
    METHODS,
    RECIPES,
    Size,
    choices,
    in_motion,
)
from still_moving.benchmarks.fidelity.report import summarize


def row(method: str, fidelity: float, motion: float, prompt: str = "a") -> dict:
    return {
        "token": "sks",
        "method": method,
        "prompt": prompt,
        "fidelity": fidelity,
        "frame_accuracy": 1.0,
        "motion": motion,
    }


def test_a_frozen_clip_cannot_win():
    assert in_motion(1.0, 0.0) == 0
    assert in_motion(0.3, 0.1) > 0
    # At natural speeds only fidelity counts, and running wild is no merit.
    assert in_motion(0.8, 0.7) == in_motion(0.8, 1.2) == in_motion(0.8, 5.0) == 0.8


def test_the_summary_compares_the_same_prompts():
    clips = [
        row("injection", 0.5, 1.0, "a"),
        row("injection", 0.7, 1.0, "b"),
        row("Still-Moving", 0.6, 1.0, "a"),
        row("Still-Moving", 0.8, 1.0, "b"),
        row("a still, repeated", 0.9, 0.0, "a"),
    ]
    summary = summarize(clips, Size(tokens=("sks",), prompts=2))
    ours = summary["against_injection"]["styles"]["Still-Moving"]
    assert ours["fidelity"] == pytest.approx(0.1)
    assert ours["fidelity_error"] == pytest.approx(0, abs=1e-9)  # though each varies by 0.1
    less_ours = summary["against_ours"]["styles"]
    assert less_ours["injection"]["fidelity"] == pytest.approx(-0.1)
    assert not less_ours.keys() & {"Still-Moving", "a still, repeated"}
    styles = summary["methods"]["styles"]
    assert styles["Still-Moving"]["fidelity"] == pytest.approx(0.7)
    assert styles["Still-Moving"]["fidelity_error"] == pytest.approx(0.1)
    assert styles["a still, repeated"]["moving_fidelity"] == 0
    assert summary["methods"]["subjects"]["Still-Moving"]["clips"] == 0


def test_a_choice_is_compared_on_its_own_customization():
    clips = [row("Still-Moving", 0.6, 1.0), row("rank 4", 0.7, 1.0)]
    clips += [c | {"token": "pll", "fidelity": c["fidelity"] / 2} for c in clips]
    clips += [row("Still-Moving", 0.1, 1.0) | {"token": "zwx"}]
    summary = summarize(clips, Size(tokens=("sks", "zwx", "pll"), prompts=1))
    assert summary["against_ours"]["sks alone"]["rank 4"]["fidelity"] == pytest.approx(0.1)
    assert summary["against_ours"]["pll alone"]["rank 4"]["fidelity"] == pytest.approx(0.05)
    assert list(summary["choices"]) == ["sks", "pll"]
    assert list(summary["choices"]["pll"]) == ["Still-Moving", *choices("pll")]


def test_figures_are_a_page_of_their_own_that_points_to_the_argument(tmp_path):

    page = tmp_path / "tables" / "a.md"
    put_tables(page, "A", "old")
    put_tables(page, "A", "new")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# A: the figures\n")
    assert "(../a.md)" in text
    assert text.endswith("\n\nnew\n")


def test_every_page_of_figures_has_its_argument_and_its_place_in_the_index():

    index = (TABLES.parent / "README.md").read_text(encoding="utf-8")
    for page in TABLES.glob("*.md"):
        assert (TABLES.parent / page.name).is_file()
        assert f"({page.name})" in index


def test_every_method_of_the_paper_and_every_ablation_is_there():
    assert {"injection", "interpolation", "interleaved training", "Still-Moving"} <= set(METHODS)
    assert len(FULL.tokens) >= 4
    assert FULL.prompts >= 10
    stages = {name: recipe(FULL).stages[0] for name, recipe in RECIPES.items()}
    assert stages["no Motion Adapter"].use == ()
    assert [s.set for s in stages["no natural clips"].sources] == ["customized"]
    assert stages["no Spatial Adapter"].train == "spatial.all"
    assert stages["sites: blocks"].train == "spatial.blocks"
    assert stages["rank 64"].rank == 64
