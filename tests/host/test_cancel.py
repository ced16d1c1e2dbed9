"""ComfyUI's Cancel, in the nodes that compute for long by themselves."""

import asyncio

import comfy.model_management
import pytest
import torch
from comfy.model_management import InterruptProcessingException

from helpers.host import world
from still_moving import comfy_entrypoint
from still_moving.nodes.apply.motion import LoadMotionModule
from still_moving.nodes.apply.spatial import InjectCheckpoint
from still_moving.nodes.clips.measure import MeasureMotion
from still_moving.nodes.shared import cancel, folders, places
from still_moving.nodes.train import baking

pytestmark = pytest.mark.every_comfyui


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    return tmp_path / "user"


@pytest.fixture
def cancelled():
    """As after a press of Cancel."""
    comfy.model_management.interrupt_current_processing(True)
    yield
    comfy.model_management.interrupt_current_processing(False)


def bake():
    with cancel.cancellable():
        baking.bake(world.plain())


WORK = {
    "loading a motion module": lambda: LoadMotionModule.execute(
        folders.choices(folders.MOTION_MODULES)[0]
    ),
    "injecting": lambda: InjectCheckpoint.execute(
        world.plain(), folders.choices(folders.CHECKPOINTS)[0], 1.0
    ),
    "measuring": lambda: MeasureMotion.execute(clip_1=torch.rand(3, 32, 32, 3)),
    "baking": bake,
}


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("work", WORK)
def test_cancel_stops_it(work, user_folder):
    with pytest.raises(InterruptProcessingException):
        WORK[work]()
    assert not [path for path in user_folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("work", WORK)
def test_without_it_nothing_stops(work):
    WORK[work]()
