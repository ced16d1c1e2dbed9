"""The demo's path from folders to clips, on two prompts and a few steps."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

from helpers.small import differences
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.tensors import read_tensors
from still_moving.common.errors import UserError
from still_moving.demo import run as demo
from still_moving.demo.evaluate import check
from still_moving.demo.parts import Demo, Plan
from still_moving.training.recipes.recipe import Recipe

pytestmark = pytest.mark.slow  # all look at one run of the demo


def short(recipe: Recipe) -> Recipe:
    stage = dataclasses.replace(recipe.stages[0], steps=3)
    return dataclasses.replace(recipe, stages=(stage,), batch=1, held_out=1)


def small(out: Path) -> Plan:
    """Everything that the demo makes, and little of it."""
    recipes = (short(demo.MOTION_RECIPE), short(demo.SPATIAL_RECIPE))
    return Plan(out, 5, "cpu", recipes, natural_clips=3, customized_stills=4, sampling_steps=1)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, demo.run_demo(small(out), quiet=True, processes=2)


def test_everything_that_was_promised_is_written(result):
    out, metrics = result
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == metrics
    for name in ("sweep.gif", "comparison.gif", "motion.png"):
        assert Image.open(out / name).width > 200
    with Image.open(out / "sweep.gif") as sweep:
        assert sum(1 for _ in ImageSequence.Iterator(sweep)) == 8
    for name in ("motion_adapter", "spatial_adapter"):
        assert Image.open(out / f"loss_{name}.png").width > 200
        assert load_adapter(out / f"{name}.safetensors").info.steps == 3


def test_the_numbers_have_the_agreed_names(result):
    metrics = result[1]
    assert list(metrics["motion_by_scale"]) == ["1", "0.5", "0", "-0.5", "-1"]
    assert metrics["stills"]["motion"] == 0
    for name in ("base", "injection", "still_moving", "stills"):
        assert {"fidelity", "prompt_accuracy", "motion"} <= set(metrics[name])
    # Scale 0 is the base, and is not generated twice.
    assert metrics["base"]["motion"] == metrics["motion_by_scale"]["0"]


def test_the_numbers_do_not_depend_on_the_processes(result, tmp_path):
    """Nor on this one's threads: each process that makes something has one."""
    out, metrics = result
    alone = demo.run_demo(small(tmp_path), quiet=True, processes=1)
    assert alone | {"seconds": 0} == metrics | {"seconds": 0}
    for name in ("motion_adapter", "spatial_adapter"):
        file = f"{name}.safetensors"
        assert differences(read_tensors(out / file)[0], read_tensors(tmp_path / file)[0]) == []


def test_a_plan_is_what_was_said(tmp_path):
    plan = small(tmp_path / "ö")
    assert Plan.from_json(plan.to_json()) == plan
    assert "\n" not in plan.to_json()


def test_the_bar_comes_to_its_end_and_says_what_is_made(tmp_path, capsys):
    parts = Demo(small(tmp_path)).parts()
    with demo.Progress(parts, quiet=False) as progress:
        for part in parts:
            progress(part, 0.0, "")
            progress(part, 0.5, "half")
        assert progress.bar.n == pytest.approx(progress.bar.total / 2)
        for part in parts:
            progress(part, 1.0, "")
        assert progress.bar.n == pytest.approx(progress.bar.total)
    err = capsys.readouterr().err
    assert "Motion Adapter: 3 clips" in err
    assert "100%" in err


def test_the_summary_says_where_to_look(result):
    out, metrics = result
    text = demo.summary(metrics, out)
    assert str(out) in text
    assert "still_moving" in text


def test_the_checks_can_fail():
    rows = {"fidelity": 0.5, "motion": 1.0}
    good = {
        "motion_by_scale": {"1": 0.1, "0": 1.0, "-1": 1.5},
        "base": rows,
        "injection": rows,
        "still_moving": {"fidelity": 0.6, "motion": 0.9},
    }
    assert all(check(good).values())
    bad = {
        "motion_by_scale": {"1": 0.3, "0": 1.0, "-1": 1.1},
        "base": rows,
        "injection": rows,
        "still_moving": {"fidelity": 0.5, "motion": 0.7},
    }
    assert not any(check(bad).values())


def test_missing_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match="shapes_base"):
        demo.run_demo(small(tmp_path / "out"), quiet=True)
    assert not (tmp_path / "out").exists()
