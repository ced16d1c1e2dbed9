"""Recipes: what they hold, their JSON, and what is refused by the name of its field."""

import dataclasses
import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from still_moving.common.errors import UserError
from still_moving.training.recipes import recipe
from still_moving.training.recipes.methods import vmc
from still_moving.training.recipes.recipe import Noise, Recipe, Source, Stage
from still_moving.training.recipes.sites import SITES

words = st.text(st.sampled_from("abcXYZ019 ._-éß画"), min_size=1, max_size=20).filter(
    lambda name: name == name.strip(" .")
)
rates = st.floats(1e-9, 1)
scales = st.one_of(st.just({}), st.fixed_dictionaries({"motion": st.floats(-10, 10)}))


@st.composite
def sources(draw, stage: Stage) -> Source:
    timed = stage.site.temporal
    view = draw(st.sampled_from(get_args(recipe.View)).filter(lambda v: not timed or v != "frame"))
    scaled = scales if stage.has_motion_adapter else st.just({})
    return Source(
        set=draw(st.text(max_size=9)),
        view=view,
        scales=draw(scaled),
        weight=draw(st.integers(1, 1000)),
        crop=draw(st.floats(0.01, 1)) if view == "frame" else 1.0,
        single=draw(st.booleans()),
        says=draw(st.sampled_from(["anything", "motion"])),
    )


@st.composite
def stages(draw) -> Stage:
    train = draw(st.sampled_from(list(SITES)))
    with_words = st.lists(words, min_size=2, max_size=6, unique=True).map(tuple)
    stage = Stage(
        name=draw(words),
        train=train,
        sources=(),
        steps=draw(st.integers(1, 1_000_000)),
        rank=draw(st.integers(1, 1024)),
        lr=draw(rates),
        noise=Noise(draw(st.floats(0, 1))),
        mse_weight=draw(st.floats(0, 1000)),
        coarse=draw(st.floats(0, 1)),
        debiased=draw(st.booleans()),
        words=draw(with_words) if SITES[train].words else (),
        words_lr=draw(rates),
    )
    stage = replace(stage, use=draw(st.sampled_from([(), stage.site.may_hold])))
    return replace(stage, sources=tuple(draw(st.lists(sources(stage), min_size=1, max_size=3))))


recipes = st.builds(
    Recipe,
    name=st.text(max_size=20),
    stages=st.lists(stages(), min_size=1, max_size=3).map(tuple),
    frames=st.integers(1, 1024),
    batch=st.integers(1, 64),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from(get_args(recipe.Dtype)),
    tier=st.sampled_from(get_args(recipe.Tier)),
    weight_decay=st.floats(0, 1),
    clip_norm=st.floats(1e-9, 1e9),
    ema=st.floats(0, 1, exclude_max=True),
    save_every=st.integers(1, 10_000),
    held_out_every=st.integers(1, 10_000),
    held_out=st.integers(0, 99),
    max_skips=st.integers(1, 99),
    token=st.sampled_from(["", "pll", "画"]),
    check_captions=st.booleans(),
)


@pytest.mark.slow
@given(recipes)
def test_json_round_trip(drawn):
    assert Recipe.from_json(drawn.to_json()) == drawn


def test_the_defaults_are_the_papers_numbers():
    motion, spatial = recipe.motion_adapter(), recipe.spatial_adapter()
    (stage,) = motion.stages
    assert (stage.train, stage.rank, stage.steps, stage.lr) == ("temporal.qkv", 4, 4000, 2e-5)
    assert stage.sources == (Source("frames", "frozen", {"motion": 1.0}),)
    assert (stage.noise.offset, stage.loss, motion.batch) == (0.1, "epsilon_mse", 1)
    (stage,) = spatial.stages
    assert (stage.train, stage.rank, stage.steps, stage.lr) == ("spatial.layers", 64, 600, 2e-5)
    assert stage.use == ("motion",)
    assert stage.sources == (
        Source("customized", "frozen", {"motion": 1.0}),
        Source("natural", "clip", {"motion": 0.0}),
    )


def test_what_older_versions_do_not_know_is_written_only_where_it_says_something():
    plain = vmc()
    assert "debiased" not in plain.to_data()["stages"][0]
    assert vmc(debiased=True).to_data()["stages"][0]["debiased"] is True


def test_the_ablations_are_switches():
    def stage(**switches):
        return recipe.spatial_adapter(**switches).stages[0]

    without = stage(motion_adapter=False)
    assert without.use == ()
    assert [source.scales for source in without.sources] == [{}, {}]
    assert [source.set for source in stage(natural_clips=False).sources] == ["customized"]
    assert stage(sites="all").train == "spatial.all"
    assert stage(prior_scale=0.5).sources[1].scales == {"motion": 0.5}


PLAIN = json.loads(recipe.spatial_adapter().to_json())


def damaged(path: str, value: object) -> str:
    """The default recipe with one field replaced. path: names and numbers, by dots."""
    data = json.loads(json.dumps(PLAIN))
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    place = data
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("frames", 0, "frames"),
        ("frames", "16", "frames"),
        ("batch", True, "batch"),
        ("seed", -1, "seed"),
        ("seed", 2**64, "seed"),
        ("dtype", "int8", "dtype"),
        ("tier", ["none"], "tier"),
        ("ema", 1.0, "ema"),
        ("clip_norm", 0, "clip_norm"),
        ("clip_norm", float("inf"), "clip_norm"),
        ("weight_decay", float("nan"), "weight_decay"),
        ("weight_decay", 10**400, "weight_decay"),
        ("save_every", 0, "save_every"),
        ("held_out", -1, "held_out"),
        ("max_skips", 0, "max_skips"),
        ("stages", [], "stages"),
        ("stages", {}, "stages"),
        ("stages.0", 3, "stages[0]"),
        ("stages.0.lr", 0, "lr"),
        ("stages.0.lr", None, "lr"),
        ("stages.0.steps", 1.5, "steps"),
        ("stages.0.rank", 0, "rank"),
        ("stages.0.train", "everything", "train"),
        ("stages.0.loss", "mse", "loss"),
        ("stages.0.noise.offset", 2, "noise.offset"),
        ("stages.0.name", "../../outside", "name"),
        ("stages.0.use", ["spatial"], "use"),
        ("stages.0.use", ["motion", "motion"], "use"),
        ("stages.0.coarse", 1.5, "coarse"),
        ("stages.0.mse_weight", -1, "mse_weight"),
        ("stages.0.words", ["red", "circle"], "words"),
        ("stages.0.words_lr", 0, "words_lr"),
        ("token", "two words", "token"),
        ("stages.0.sources", [], "sources"),
        ("stages.0.sources.0.view", "photo", "view"),
        ("stages.0.sources.0.crop", 0.5, "crop"),
        ("stages.0.sources.0.says", "a motion", "says"),
        ("stages.0.sources.0.weight", 0, "weight"),
        ("stages.0.sources.0.weight", 10**12, "weight"),
        ("stages.0.sources.0.scales", {"motoin": 1}, "scales"),
        ("stages.0.sources.0.scales", {"motion": float("nan")}, "scales"),
        ("stages.0.sources.0.scales", {"motion": "1"}, "scales.motion"),
        ("stages.0.sources.0.scale", 1, "'scale'"),
        ("learning_rate", 1, "'learning_rate'"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(path, value, named):
    with pytest.raises(UserError) as refusal:
        Recipe.from_json(damaged(path, value), "my.json")
    assert str(refusal.value).startswith("my.json")
    assert named in str(refusal.value)


def test_a_missing_field_is_named():
    data = {k: v for k, v in PLAIN.items() if k != "stages"}
    with pytest.raises(UserError, match="stages"):
        Recipe.from_json(json.dumps(data))


BAD_MOTIONS = [
    ({"train": "spatial.qkv", "use": ("motion",)}, "use"),
    ({"sources": (Source("one", "frame"),)}, "view"),
    (
        {
            "loss": "residual_cosine",
            "train": "spatial.qkv",
            "sources": (Source("one", "frame"), Source("two", "clip")),
        },
        "loss",
    ),
    ({"train": "words"}, "words"),
    ({"train": "words", "words": ("red", "red")}, "words"),
    ({"train": "words", "words": ("red",)}, "words"),
    ({"train": "temporal.all", "use": ("motion",)}, "use"),
    ({"sources": (Source("one", "clip", says="token"),)}, "token"),
    ({"sources": (Source("one", "clip", prompt="a"), Source("one", "clip"))}, "prompt"),
]


@pytest.mark.parametrize(("fields", "named"), BAD_MOTIONS)
def test_what_no_method_can_do_is_refused(fields, named):
    plain = Stage("one", "temporal.qkv", (Source("one", "clip"),), steps=1)
    whole = Recipe("mixed", (replace(plain, **fields),))
    with pytest.raises(UserError, match=f"{named} = "):
        recipe.validate(whole, "my.json")


def test_one_frame_has_no_residuals():
    with pytest.raises(UserError, match="loss = "):
        vmc(frames=1)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
PATHS = [f.name for f in dataclasses.fields(Recipe)]
PATHS += [f"stages.0.{f.name}" for f in dataclasses.fields(Stage)]
PATHS += [f"stages.0.sources.1.{f.name}" for f in dataclasses.fields(Source)]


@given(st.sampled_from(PATHS), anything)
def test_any_value_anywhere_is_taken_or_refused(path, value):
    try:
        accepted = Recipe.from_json(damaged(path, value))
    except UserError:
        return
    assert Recipe.from_json(accepted.to_json()) == accepted


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "1" * 5000, '{"a": 1}'])
def test_text_that_is_no_recipe_is_refused(text):
    with pytest.raises(UserError):
        Recipe.from_json(text)
