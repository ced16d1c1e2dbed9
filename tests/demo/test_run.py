"""The demo's path from folders to clips, on two prompts and a few steps."""

import dataclasses
import json

import pytest
from PIL import Image, ImageSequence

from still_moving.adapters.files.adapter import load_adapter
from still_moving.common.errors import UserError
from still_moving.demo import run as demo
from still_moving.demo.evaluate import check
from still_moving.training.recipes.recipe import Recipe

pytestmark = pytest.mark.slow  # all look at one run of the demo


def short(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], steps=3),))


SHORT = (short(demo.MOTION_RECIPE), short(demo.SPATIAL_RECIPE))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, demo.run_demo(out, 2, "cpu", quiet=True, recipes=SHORT)


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
    for name in ("base", "injection", "still_moving"):
        assert {"fidelity", "prompt_accuracy", "motion"} <= set(metrics[name])
    # Scale 0 is the base, and is not generated twice.
    assert metrics["base"]["motion"] == metrics["motion_by_scale"]["0"]


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
        demo.run_demo(tmp_path / "out", 1, "cpu", quiet=True)
    assert not (tmp_path / "out").exists()
