"""A preset's numbers: what the trainers ask, what the page is told, and what is trained."""

from typing import Any

import pytest

from still_moving.nodes.shared import folders
from still_moving.nodes.train import preset_numbers
from still_moving.nodes.train.inputs import recipe_of
from still_moving.nodes.train.trainers import TrainMotionAdapter, TrainSpatialAdapter
from still_moving.training.recipes.presets import PRESETS, make_recipe

pytestmark = pytest.mark.every_comfyui
TRAINERS = {"motion": TrainMotionAdapter, "spatial": TrainSpatialAdapter}
MACHINE: dict[str, Any] = {"seed": 0, "memory": "auto", "precision": "auto"}
each = pytest.mark.parametrize(
    ("kind", "preset"), [(kind, preset) for kind in TRAINERS for preset in PRESETS[kind]]
)


@pytest.fixture(autouse=True, scope="module")
def registered():
    folders.register()


def asked(kind: str) -> dict[str, Any]:
    """Input -> what /object_info says of it."""
    described = TRAINERS[kind].INPUT_TYPES()
    return described["required"] | described["optional"]


@each
def test_what_a_preset_shows_is_what_it_trains(kind, preset):
    shown = asked(kind)["preset"][1]["numbers"][preset]
    assert recipe_of(kind, {"preset": preset, **shown, **MACHINE}) == make_recipe(kind, preset)


@each
def test_a_number_that_is_missing_or_0_is_the_presets(kind, preset):
    own = make_recipe(kind, preset)
    assert recipe_of(kind, {"preset": preset, **MACHINE}) == own
    zeros = dict.fromkeys(preset_numbers.NUMBERS, 0)
    assert recipe_of(kind, {"preset": preset, **zeros, **MACHINE}) == own
    assert recipe_of(kind, {"preset": preset, "steps": 7, **MACHINE}) == make_recipe(
        kind, preset, steps=7
    )


@each
def test_a_custom_preset_keeps_the_numbers_that_no_input_shows(kind, preset):
    shown = asked(kind)["preset"][1]["numbers"][preset] | {"steps": 7}
    inputs = {"preset": preset + preset_numbers.CUSTOM, **shown, **MACHINE}
    assert recipe_of(kind, inputs) == make_recipe(kind, preset, steps=7)


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_new_node_shows_the_first_presets_numbers(kind):
    inputs = asked(kind)
    first = inputs["preset"][1]["default"]
    assert first == next(iter(PRESETS[kind]))
    for name, number in inputs["preset"][1]["numbers"][first].items():
        assert inputs[name][1]["default"] == number > 0
        assert inputs[name][1]["min"] <= number <= inputs[name][1]["max"]


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_preset_that_nobody_knows_is_refused_by_name(kind):
    trainer = TRAINERS[kind]
    for preset in PRESETS[kind]:
        assert trainer.validate_inputs(preset=preset) is True
        assert trainer.validate_inputs(preset=preset + preset_numbers.CUSTOM) is True
    assert trainer.validate_inputs(preset=None) is True  # through a wire
    for wrong in ("slow", "custom", "slow, custom", ""):
        assert str(trainer.validate_inputs(preset=wrong)).startswith(f"{wrong!r} is none of")


@pytest.mark.parametrize("kind", TRAINERS)
def test_workflows_find_their_values_in_their_order(kind):
    order = ["name", "preset", *preset_numbers.NUMBERS, "seed", "memory", "precision", "sharing"]
    assert [name for name in asked(kind) if name in order] == order
