"""The nodes as ComfyUI calls them: choices, files, and names that are no paths."""

import asyncio
from pathlib import Path

import folder_paths
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.host import world
from still_moving import comfy_entrypoint
from still_moving.adapters.files.adapter import save_adapter
from still_moving.adapters.scale_schedule import PRESETS, ScaleSchedule
from still_moving.common.errors import UserError
from still_moving.nodes.apply.motion import ApplyMotionAdapter, LoadMotionModule
from still_moving.nodes.apply.scales import MakeScaleSchedule
from still_moving.nodes.apply.spatial import ApplySpatialAdapter, ExportSpatialAdapter, free_path
from still_moving.nodes.shared import folders

pytestmark = pytest.mark.every_comfyui


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


def test_the_shapes_world_is_offered_after_the_artists_own_files(tmp_path):
    own = Path(folder_paths.get_folder_paths(folders.MOTION_ADAPTERS)[0])
    own.mkdir(parents=True, exist_ok=True)
    save_adapter(own / "mine.safetensors", world.motion_adapter())
    (own / "readme.txt").write_text("not a model", encoding="utf-8")
    folder_paths.filename_list_cache.clear()
    offered = folders.choices(folders.MOTION_ADAPTERS)
    assert offered[0] == "mine.safetensors"
    assert all(name.startswith(folders.DEMO) for name in offered[1:])
    assert folders.path_of(folders.MOTION_ADAPTERS, "mine.safetensors").is_file()
    moving = world.moving()
    (adapted,) = ApplyMotionAdapter.execute(moving, "mine.safetensors", 1.0).result
    assert not torch.equal(world.sample(adapted), world.sample(moving))
    (own / "mine.safetensors").unlink()


@pytest.mark.parametrize("name", ["gone.safetensors", "demo: ../files.py", "../../etc/passwd", ""])
def test_a_choice_that_is_no_file_says_where_it_should_be(name):
    with pytest.raises(UserError, match="animatediff_models"):
        LoadMotionModule.execute(name)


def test_the_scale_schedule_replaces_the_slider():
    (flat,) = MakeScaleSchedule.execute(0.0, 0.0, "linear", 0.0, 1.0).result
    file = folders.choices(folders.MOTION_ADAPTERS)[0]
    moving = world.moving()
    (adapted,) = ApplyMotionAdapter.execute(moving, file, 2.0, flat).result
    assert torch.equal(world.sample(adapted), world.sample(moving))
    with pytest.raises(UserError, match="Move the start before the end"):
        MakeScaleSchedule.execute(0.0, 1.0, "linear", 0.9, 0.1)


def test_the_export_is_a_new_file_in_loras():
    model, file = world.moving(), folders.choices(folders.SPATIAL_ADAPTERS)[0]
    names = [ExportSpatialAdapter.execute(model, file, 1.0, "mine").result[0] for _ in range(2)]
    assert names == ["mine.safetensors", "mine_1.safetensors"]
    folder = Path(folder_paths.get_folder_paths(folders.LORAS)[0])
    for name in names:
        (folder / name).unlink()
    (adapted,) = ApplySpatialAdapter.execute(model, file, 1.0, "auto").result
    assert not torch.equal(world.sample(adapted), world.sample(model))


@given(st.text(max_size=120) | st.sampled_from(["../a", "a/b", "a\\b", "C:\\a", "a\0", ".", ""]))
def test_a_name_is_not_a_path(name):
    folder = Path("loras")
    try:
        path = free_path(folder, name)
    except UserError:
        return
    assert path.parent == folder
    assert path.suffix == ".safetensors"
    assert not set('/\\:*?"<>|\0') & set(path.name)


def test_a_preset_of_a_schedule_is_its_numbers_and_never_more_than_they_say():
    *numbers, preset = MakeScaleSchedule.GET_SCHEMA().inputs
    shown = MakeScaleSchedule.INPUT_TYPES()["optional"]["preset"][1]
    assert shown["zero_counts"]
    assert list(shown["numbers"]) == preset.options == ["by hand", *PRESETS]
    assert shown["numbers"]["by hand"] == {}
    for name, schedule in PRESETS.items():
        filled = shown["numbers"][name]
        assert set(filled) == {socket.id for socket in numbers}
        assert MakeScaleSchedule.execute(**filled, preset=name).args == (schedule,)
        assert MakeScaleSchedule.validate_inputs(preset=f"{name}, custom") is True
        other = MakeScaleSchedule.execute(**filled | {"end": 2.0}, preset=name).args[0]
        assert other == ScaleSchedule(**filled | {"end": 2.0})
    assert MakeScaleSchedule.validate_inputs() is True
    assert "none of the presets" in str(MakeScaleSchedule.validate_inputs(preset="gone"))
