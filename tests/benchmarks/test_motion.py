"""The motion benchmark's sums: what counts as the same motion, and what as leakage."""

import pytest
import torch

from still_moving.benchmarks.common.rows import cached
from still_moving.benchmarks.motion.bench import diversity
from still_moving.benchmarks.motion.methods import (
    FULL,
    MAIN,
    METHODS,
    Size,
    lengths_of,
    parts_of,
    recipe_of,
    samples,
)
from still_moving.benchmarks.motion.report import MEASURES, PICTURES, draw, summarize, write
from still_moving.benchmarks.motion.world import (
    PROMPTED,
    SHOWN,
    observe,
    prompted_scenes,
    rendered,
    write_reference,
)
from still_moving.demo import world
from still_moving.demo.reference import (
    MOTIONS,
    SCENE,
    SPEED,
    match_in_any_phase,
    reference_clip,
    trajectory_match,
)
from still_moving.training.sets.store import load_set
from still_moving.worlds.shapes.latents import encode_world


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_reference_stays_on_the_stage_at_a_speed_the_base_knows(motion):
    clip = reference_clip(motion, place=(0.0, 1.0))
    assert clip.positions.min() >= world.MARGIN - 1e-4
    assert clip.positions.max() <= world.SIZE - world.MARGIN + 1e-4
    steps = (clip.positions[1:] - clip.positions[:-1]).norm(dim=1)
    assert steps.max() <= SPEED + 1e-4
    assert clip.frames.max() <= world.EXPOSURE


@pytest.mark.slow
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_same_motion_elsewhere_matches_and_a_still_does_not(motion):
    scene = world.Scene("blue", "square", "right", "sand")
    seen = observe(reference_clip(motion, scene, (0.9, 0.2)).frames, scene, motion)
    assert seen["trajectory_match"] > 0.9
    assert seen["thing"] == seen["background"] == 1
    assert seen["leakage"] == 0
    still = reference_clip(motion, scene).frames[:1].expand(world.FRAMES, -1, -1, -1)
    assert observe(still, scene, motion)["trajectory_match"] == pytest.approx(0, abs=1e-6)


def test_the_reference_itself_leaks_everything():
    scene = world.Scene("blue", "square", "right", "sand")
    seen = observe(reference_clip("zigzag").frames, scene, "zigzag")
    assert seen["leakage"] == 1
    assert seen["thing"] == seen["background"] == 0


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_reference_is_trained_on_as_it_is(motion, tmp_path):
    folder = write_reference(tmp_path / "clips", motion)
    (item,) = load_set(cached(folder, "clips", tmp_path / "set")).items
    exact = encode_world(reference_clip(motion).frames)
    # 255 levels of a channel are what a file keeps. Pauses must be frames, not left out.
    assert item.caption == SCENE.prompt
    assert (item.latents.float() - exact).abs().max() < 0.02


def test_a_straight_line_is_none_of_the_motions():
    time = torch.arange(world.FRAMES)
    line = torch.stack([0.9 * time, 0 * time], 1)
    # The nearest of them pauses on its way; it bounds what the base can reach by itself.
    assert {m: trajectory_match(line, m) < 0.75 for m in MOTIONS} == dict.fromkeys(MOTIONS, True)


def test_nothing_that_is_asked_for_was_shown():
    assert all(not set(PROMPTED[part]) & set(SHOWN[part]) for part in SHOWN)
    assert {getattr(SCENE, part) in SHOWN[part] for part in SHOWN} == {True}
    assert len(set(prompted_scenes())) == 8


def test_every_method_and_every_ablation_is_there():
    recipes = {n: recipe_of(m, FULL) for n, m in METHODS.items() if m.kind}
    last = {name: recipe.stages[-1] for name, recipe in recipes.items()}
    assert [len(recipes[f"Customize-A-Video: {a}"].stages) for a in ("LoRA", "words", "both")] == [
        2,
        2,
        2,
    ]
    assert len(recipes["temporal LoRA"].stages) == 1
    losses = {last[f"VMC{of}"].loss for of in ("", ": l2", ": plain loss", ": as its code")}
    assert len(losses) == 4
    assert last["VMC: spatial layers"].train == "spatial.qkv"
    assert last["NewMove"].train == "temporal.all+kv"
    assert last["NewMove: temporal alone"].train == "temporal.all"
    assert last["NewMove: LoRA"].train == "temporal.qkv"
    assert last["NewMove: even timesteps"].coarse == 0 < last["NewMove"].coarse
    assert len(last["NewMove: no regularization"].sources) == 1
    assert METHODS["NewMove: generated clips"].generated
    alike = [name for name in recipes if name.endswith(": every timestep alike")]
    assert [last[name.partition(":")[0]].debiased for name in alike] == [True] * 3
    assert not any(last[name].debiased for name in alike)


def test_a_method_is_measured_at_every_length_and_an_ablation_at_one():
    assert FULL.chosen in FULL.lengths
    assert lengths_of("VMC", FULL) == FULL.lengths
    assert lengths_of("VMC: l2", FULL) == (FULL.chosen,)
    assert lengths_of("base", FULL) == (0,)
    assert recipe_of(METHODS["VMC"], FULL).stages[-1].steps == FULL.chosen


def test_the_work_is_announced_part_by_part():
    parts = parts_of(FULL)
    assert len({part.label for part in parts}) == len(parts)

    def of(method: str) -> int:
        return sum(samples(p, FULL) for p in parts if (p.motion, p.method) == ("circle", method))

    assert of("base") == of("VMC: fresh noise") == 0
    assert (of("VMC"), of("Customize-A-Video: both"), of("NewMove")) == (3000, 3100, 6000)
    assert of("NewMove: no regularization") == FULL.chosen
    assert all(p.steps in (0, FULL.chosen) for p in parts if p.method not in MAIN)


def learner(method: str, steps: int) -> dict:
    """A row of a method that has learned a motion after 400 steps."""
    zeros = dict.fromkeys(MEASURES, 0.0)
    match = {"trajectory_match": 0.9 if steps >= 400 else 0.1}
    names = {"method": method, "motion": "circle", "scene": "a", "seed": 0, "steps": steps}
    names["path"] = [[0.0, 0.0], [1.0, 1.0]]
    return {**zeros, **names, **match}


def test_the_page_says_from_which_length_a_motion_is_learned(tmp_path):
    size = Size(("circle",), lengths=(100, 400, 800), chosen=800)
    rows = [learner(name, s) for name in METHODS for s in lengths_of(name, size)]
    results = summarize(rows, size) | {"commit": "abc", "seconds": 1}
    assert results["curves"]["circle"]["VMC"]["400"]["trajectory_match"] == 0.9
    assert results["methods"]["VMC"]["trajectory_match"] == 0.9  # at the chosen length alone
    for name in PICTURES:
        (tmp_path / name).write_bytes(b"")
    write(tmp_path / "tables" / "motion.md", tmp_path, results)
    page = (tmp_path / "tables" / "motion.md").read_text(encoding="utf-8")
    assert "| VMC | 0.10 ± 0.00 | 0.90 ± 0.00 | 0.90 ± 0.00 | 400 |" in page
    assert "not measured yet" not in page
    assert page.index("motion_curves.png") < page.index("|")  # what leads


def test_what_is_not_there_yet_is_said(tmp_path):
    size = Size(("circle", "zigzag"), lengths=(100, 800), chosen=800)
    rows = [learner("base", 0), learner("VMC", 100)]
    results = summarize(rows, size) | {"commit": "abc", "seconds": 1}
    assert "circle-VMC-800" in results["missing"]
    assert "circle-VMC-100" not in results["missing"]
    draw(tmp_path, rows, results, size)
    write(tmp_path / "tables" / "motion.md", tmp_path, results)
    page = (tmp_path / "tables" / "motion.md").read_text(encoding="utf-8")
    assert f"{len(parts_of(size)) - 2} parts are not measured yet" in page
    assert "| VMC | 0.10 ± 0.00 |  |  |" in page
    assert "nan" not in page


def test_a_motion_begun_elsewhere_matches_in_some_phase():
    path = MOTIONS["circle"]().roll(3, 0)
    assert trajectory_match(path, "circle") < 0
    assert match_in_any_phase(path, "circle") == pytest.approx(1)
    assert match_in_any_phase(path.flip(0), "circle") < 0.5  # the other way around


def test_what_is_rendered_bounds_what_can_be_measured():
    scene = world.Scene("blue", "square", "right", "sand")
    exact, beside = (
        observe(rendered(scene, "circle", off, 1), scene, "circle")["trajectory_match"]
        for off in (0.0, 0.5)
    )
    assert exact > 0.9 > beside > 0


def test_a_ghost_is_what_stands_still_behind_a_motion():
    scene = world.Scene("blue", "square", "right", "sand")
    frames = reference_clip("circle", scene, (1.0, 1.0)).frames
    assert observe(frames, scene, "circle")["ghost"] < 0.005
    red = reference_clip("circle", place=(0.0, 0.0)).frames.mean(0)
    haunted = 0.8 * frames + 0.2 * red
    assert observe(haunted, scene, "circle")["ghost"] > 0.02


def test_clips_that_agree_have_no_diversity():
    clip = torch.rand(2, 3, 4, 4)
    assert diversity(torch.stack([clip, clip])) == 0
    assert diversity(torch.stack([clip, 1 - clip, clip])) > 0
    assert diversity(clip[None]) == 0
