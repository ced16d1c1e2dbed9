"""A set that a model draws is drawn once for a graph, whatever else runs in between."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import folder_paths
import pytest

from still_moving.nodes.sets.cached import CachedSet
from still_moving.nodes.sets.drawn import DrawnSet, graph_key, is_only_trained
from still_moving.training.sets.options import CacheOptions
from still_moving.training.sets.plan import PLAN_FILE
from still_moving.training.sets.store import SET_FILE

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "2": {
        "class_type": "LoraLoader",
        "inputs": {"model": ["1", 0], "clip": ["1", 1], "lora_name": "look", "strength_model": 1.0},
    },
    "3": {
        "class_type": "StillMovingGenerateImages",
        "inputs": {"model": ["2", 0], "clip": ["2", 1], "vae": ["1", 2], "seed": 0, "prompts": "a"},
    },
    "4": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 5}},  # feeds nothing
}


def changed(node: str, **inputs) -> dict:
    graph = copy.deepcopy(GRAPH)
    graph[node]["inputs"] |= inputs
    return graph


@pytest.fixture
def key() -> str:
    key = graph_key(GRAPH, "3")
    assert key is not None
    return key


def test_what_does_not_feed_it_and_the_ids_do_not_count(key):
    assert graph_key(changed("4", seed=6), "3") == key
    renamed = {
        f"9:{i}": node | {"inputs": {
            k: [f"9:{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()
        }}
        for i, node in GRAPH.items()
    }  # fmt: skip  # many short values, several a line
    assert graph_key(renamed, "9:3") == key


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("1", {"ckpt_name": "other.safetensors"}),
        ("2", {"strength_model": 0.5}),
        ("3", {"seed": 1}),
        ("3", {"prompts": "b"}),
        ("3", {"model": ["1", 0]}),
        ("3", {"clip": ["2", 0]}),
    ],
)
def test_every_value_and_wire_before_it_counts(key, node, inputs):
    assert graph_key(changed(node, **inputs), "3") not in (None, key)


def test_a_file_that_is_replaced_under_its_name_counts(key):
    folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / GRAPH["1"]["inputs"]["ckpt_name"]
    try:
        file.write_bytes(b"one")
        first = graph_key(GRAPH, "3")
        assert first not in (None, key)
        assert graph_key(GRAPH, "3") == first
        file.write_bytes(b"another")
        assert graph_key(GRAPH, "3") not in (None, key, first)
    finally:
        file.unlink()


def test_what_may_change_under_the_same_values_has_no_key():
    graph = changed("3", model=["5", 0])
    assert graph_key(graph, "3") is None  # made while the graph ran
    graph["5"] = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
    assert graph_key(graph, "3") is None  # the file may have become another
    graph["5"]["class_type"] = "of a pack that is gone"
    assert graph_key(graph, "3") is None


def trainer(kind: str, source: str, pressed: bool) -> dict:
    inputs = {"training_set": [source, 0], "seed": 0} | ({"run_token": "press"} if pressed else {})
    return {"class_type": kind, "inputs": inputs}


@pytest.mark.parametrize(
    ("others", "background"),
    [
        ([("StillMovingTrainMotionAdapter", "3", True)], True),
        ([("StillMovingTrainVMC", "3", True), ("StillMovingTrainVMC", "3", False)], True),
        ([("StillMovingTrainMotionAdapter", "3", False)], False),
        ([("StillMovingTrainMotionAdapter", "3", True), ("PreviewAny", "3", False)], False),
        ([("StillMovingTrainMotionAdapter", "2", True)], False),
        ([], False),
    ],
)
def test_a_job_draws_what_is_for_pressed_trainers_alone(others, background):
    graph = GRAPH | {f"of {i}": trainer(*other) for i, other in enumerate(others)}
    assert is_only_trained(graph, "3") == background


def test_a_set_that_a_job_is_to_draw_is_drawn_at_once_for_others(tmp_path):
    """And what was drawn is taken by all, its notes of before gone."""
    asked: list[str] = []

    def given(name: str, *files: Path) -> CachedSet:
        asked.append(name)
        (tmp_path / name).mkdir()
        options = CacheOptions(kind="stills", width=64, height=64)
        first = tmp_path / name / "0.png"
        return CachedSet(tmp_path / name, "stills", 1, 1, first, options, None, ("later",), files)

    class Drawing(DrawnSet):
        @classmethod
        def gather(cls, **_):
            return given("now")

        @classmethod
        def planned(cls, **_):
            cached = given("planned", tmp_path)
            (cached.folder / PLAN_FILE).touch()
            return cached

    def ask(*others: dict) -> CachedSet:
        drawing: Any = Drawing
        graph = changed("3", prompts="planned here") | {str(i): o for i, o in enumerate(others, 9)}
        drawing.hidden = SimpleNamespace(prompt=graph, unique_id="3")
        return Drawing.obtain(seed=0)

    train = trainer("StillMovingTrainMotionAdapter", "3", True)
    planned = ask(train)
    assert ask(train) is planned
    assert planned.notes == ("later",)
    (planned.folder / SET_FILE).touch()
    assert (ask().folder, ask().notes, ask(train).notes) == (planned.folder, (), ())
    (planned.folder / SET_FILE).unlink()
    assert ask().folder.name == "now"
    assert asked == ["planned", "now"]


def test_it_is_drawn_again_only_for_another_graph_or_when_it_is_gone(tmp_path):
    drawn: list[Path] = []

    class Drawing(DrawnSet):
        @classmethod
        def gather(cls, **_):
            drawn.append(tmp_path / str(len(drawn)))
            drawn[-1].mkdir()
            options = CacheOptions(kind="stills", width=64, height=64)
            return CachedSet(drawn[-1], "stills", 1, 1, drawn[-1] / "0.png", options)

    def ask(graph: dict) -> Path:
        drawing: Any = Drawing
        drawing.hidden = SimpleNamespace(prompt=graph, unique_id="3")
        return Drawing.obtain(seed=0).folder

    mine, other = changed("3", prompts="of this test"), changed("3", prompts="another of it")
    first = ask(mine)
    assert ask(other) != first
    assert ask(mine) == first
    assert len(drawn) == 2
    first.rmdir()
    assert ask(mine) == drawn[2]
