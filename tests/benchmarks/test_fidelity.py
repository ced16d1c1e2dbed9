"""The fidelity benchmark's sums: a frozen clip cannot win, pairs are pairs, claims can fail."""

import pytest
import torch

from still_moving.benchmarks.common.results_page import TABLES, put_tables
from still_moving.benchmarks.fidelity import report
from still_moving.benchmarks.fidelity.claims import CLAIMS, judged, sentences
from still_moving.benchmarks.fidelity.methods import (
    INTERLEAVED,
    METHODS,
    NAIVE,
    NO_MOTION,
    NO_NATURAL,
    NO_SPATIAL,
    OURS,
    STILL,
    Size,
    trainings,
)
from still_moving.benchmarks.fidelity.shapes import ShapesGround
from still_moving.benchmarks.fidelity.summary import summarize as summarize_on

GROUND = ShapesGround(torch.device("cpu"))
FULL = GROUND.full
SIZE = Size(tokens=("sks", "pll"), prompts=2, lengths=(40, 640))


def summarize(clips: list[dict], size: Size) -> dict:
    return summarize_on(clips, size, GROUND)


def in_motion(fidelity: float, motion: float) -> float:
    return GROUND.in_motion({"fidelity": fidelity, "motion": motion})


def row(method: str, fidelity: float, motion: float, prompt: str = "a", **more) -> dict:
    known = {"token": "sks", "method": method, "prompt": prompt, "frame_accuracy": 1.0}
    trained = {"steps": 640, "seed": 0, "held_out": 1.0} if method in METHODS else {}
    return {**known, "fidelity": fidelity, "motion": motion, **trained, **more}


def test_a_frozen_clip_cannot_win():
    assert in_motion(1.0, 0.0) == 0
    assert in_motion(0.3, 0.1) > 0
    # At natural speeds only fidelity counts, and running wild is no merit.
    assert in_motion(0.8, 0.7) == in_motion(0.8, 1.2) == in_motion(0.8, 5.0) == 0.8


def test_the_summary_compares_the_same_prompts():
    clips = [
        row(NAIVE, 0.5, 1.0, "a"),
        row(NAIVE, 0.7, 1.0, "b"),
        row(OURS, 0.6, 1.0, "a"),
        row(OURS, 0.8, 1.0, "b"),
        row(STILL, 0.9, 0.0, "a"),
    ]
    summary = summarize(clips, SIZE)
    theirs = summary["against_ours"]["styles"]["640"]
    assert theirs[NAIVE]["fidelity"] == pytest.approx(-0.1)
    assert theirs[NAIVE]["fidelity_error"] == pytest.approx(0, abs=1e-9)  # each varies by 0.1
    assert not theirs.keys() & {OURS, STILL}
    curve = summary["curves"]["styles"][OURS]
    assert curve["640"]["fidelity"] == pytest.approx(0.7)
    assert curve["640"]["fidelity_error"] == pytest.approx(0.1)
    assert curve["0"]["fidelity"] == pytest.approx(0.6)  # injection
    assert summary["curves"]["styles"][STILL]["640"]["moving_fidelity"] == 0
    assert summary["curves"]["subjects"] == {}


def test_seeds_of_training_count_once_a_clip():
    clips = [row(OURS, 0.6, 1.0), row(OURS, 0.8, 1.0, seed=1)]
    clips += [row(OURS, 0.5, 1.0, "b"), row(OURS, 0.7, 1.0, "b", seed=1)]
    summary = summarize(clips, SIZE)
    assert summary["curves"]["styles"][OURS]["640"]["clips"] == 2
    assert summary["curves"]["styles"][OURS]["640"]["fidelity"] == pytest.approx(0.65)
    assert summary["seeds"]["styles"][OURS]["fidelity"] == pytest.approx(0.2)


def test_a_rule_for_the_length_is_judged_by_what_it_loses():
    clips = [row(OURS, 0.6, 1.0, steps=40, held_out=0.1), row(OURS, 0.8, 1.0, held_out=0.2)]
    rules = summarize(clips, SIZE)["stops"]
    assert rules["40 steps"]["lost"] == pytest.approx(0.2)
    assert rules["640 steps"]["lost"] == 0
    assert rules["lowest held-out loss"]["steps"] == 40  # and it would be wrong to trust it


def verdicts(clips: list[dict]) -> dict[str, str]:
    results = summarize(clips, SIZE)
    return {claim.method: judged(claim, results)[0] for claim in CLAIMS}


def test_a_claim_is_shown_only_by_figures_that_show_it():
    def clips(token: str, theirs: float) -> list[dict]:
        return [
            row(method, 0.5, motion, prompt, token=token)
            for method, motion in ((OURS, 0.9), (NO_MOTION, theirs), (NO_NATURAL, theirs))
            for prompt in ("a", "b")
        ]

    found = verdicts(clips("sks", 0.3) + clips("pll", 0.3))
    assert found[NO_MOTION] == "shown"
    assert found[NO_NATURAL] == "shown in part"  # motion, but not the prompts
    assert found[INTERLEAVED] == "not measured"
    assert verdicts(clips("sks", 0.3) + clips("pll", 0.5))[NO_MOTION] == "shown in part"
    found = verdicts(clips("sks", 0.9) + clips("pll", 1.2))
    assert {found[NO_MOTION], found[NO_NATURAL]} == {"not shown"}
    text = "\n".join(sentences(summarize(clips("sks", 0.3) + clips("pll", 0.5), SIZE)))
    assert "**Shown in part** (sks: 0.30 of 0.90; pll: 0.50 of 0.90)" in text


def test_a_difference_within_its_error_shows_nothing():
    clips = [row(OURS, 0.6, 1.0, "a"), row(OURS, 0.6, 1.0, "b")]
    clips += [row(NAIVE, 0.9, 1.0, "a"), row(NAIVE, 0.2, 1.0, "b")]  # less in the mean
    assert verdicts(clips)[NAIVE] == "not shown"


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
    assert FULL.lengths[-1] >= 640
    assert {40, 160, 320} <= set(FULL.lengths)
    assert len(FULL.tokens) >= 4
    assert FULL.prompts >= 10
    stages = {name: method.recipe(FULL).stages[0] for name, method in METHODS.items()}
    assert stages[NO_MOTION].use == ()
    assert [s.set for s in stages[NO_NATURAL].sources] == ["customized"]
    assert stages[NO_SPATIAL].train == "spatial.all"
    assert [s.set for s in stages[INTERLEAVED].sources] == ["reference", "natural"]
    assert stages["sites: blocks"].train == "spatial.blocks"
    assert stages["rank 64"].rank == 64
    done = {(t.token, t.method, t.seed) for t in trainings(FULL)}
    assert len(done) == len(trainings(FULL))
    for method in (OURS, INTERLEAVED, NO_MOTION, NO_SPATIAL, NO_NATURAL):
        assert {(t, method, s) for t in FULL.tokens for s in (0, 1)} <= done


def test_each_seed_trains_on_other_draws():
    first, second = (
        t.recipe(FULL) for t in trainings(FULL) if (t.token, t.method) == ("sks", OURS)
    )
    assert (first.seed, second.seed) == (0, 1)
    assert first.stages == second.stages


def test_what_is_not_measured_yet_is_said_and_judges_nothing(tmp_path):
    clips = [
        *(row(OURS, 0.8, 1.0, prompt) for prompt in "ab"),
        *(row(NAIVE, 0.5, 1.0, prompt, token=token) for prompt in "ab" for token in ("sks", "pll")),
    ]
    results = summarize(clips, SIZE) | {"commit": "abc", "seconds": 1, "missing": ["pll-x-0"]}
    (claim,) = [claim for claim in CLAIMS if claim.method == NAIVE]
    verdict, figures = judged(claim, results)
    assert verdict == "shown"
    assert len(figures) == 1
    assert figures[0].startswith("styles")
    told = sentences(results)
    assert "nan" not in "".join(told)
    assert sum("**Not measured**." in line for line in told) == len(CLAIMS) - 1
    missing = ["pll-x y-0", "vrk-x y-0", "pll-x y-1", "sweep-base"]
    listed = (
        "4 parts are not measured yet** (x y, seed 0: pll, vrk; x y, seed 1: pll; sweep: base)."
    )
    assert listed in "".join(report._missing(missing))
    assert report._missing([]) == []
