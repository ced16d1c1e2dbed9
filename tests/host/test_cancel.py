"""ComfyUI's Cancel, in the nodes that compute for long by themselves."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import comfy.model_management
import comfy.utils
import pytest
import torch
from comfy.model_management import InterruptProcessingException

from helpers.host import world
from still_moving import comfy_entrypoint
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.nodes.apply.motion import ApplyMotionModule, LoadMotionModule, MergeMotionModules
from still_moving.nodes.apply.spatial import InjectCheckpoint
from still_moving.nodes.clips.measure import MeasureMotion
from still_moving.nodes.sets.folders import ClipSet
from still_moving.nodes.sets.generate import GenerateImages
from still_moving.nodes.shared import baking, cancel, folders, places

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


def draw():
    GenerateImages.gather(
        model=world.plain(), clip=load_clip(), vae=ShapesVAE(), prompts="red circle", token="",
        class_word="", count=1, negative="", seed=1, steps=2, cfg=2.0, sampler_name="euler",
        scheduler="normal", width=128, height=128,
    )  # fmt: skip  # many short values, several a line


def merge():
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tuned = world.write_tuned_module(Path(folder) / "tuned.safetensors", 1)
        both = MergeMotionModules.execute(tuned, world.motion_module(), 0.5).result[0]
        ApplyMotionModule.execute(world.plain(), both, "auto")


WORK = {
    "loading a motion module": lambda: LoadMotionModule.execute(
        folders.choices(folders.MOTION_MODULES)[0]
    ),
    "merging motion modules": merge,
    "injecting": lambda: InjectCheckpoint.execute(
        world.plain(), folders.choices(folders.CHECKPOINTS)[0], 1.0
    ),
    "measuring": lambda: MeasureMotion.execute(clip_1=torch.rand(3, 32, 32, 3)),
    "baking": bake,
    "drawing a set": draw,
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


@pytest.fixture
def bar(monkeypatch):
    """What ComfyUI is told of progress: (value, of). ``answer`` is called each time."""
    told = []
    for limit in ("INTERVAL", "PERCENT"):  # newer ComfyUIs tell the page not all of it
        monkeypatch.setattr(comfy.utils, f"PROGRESS_THROTTLE_MIN_{limit}", 0, raising=False)

    def hook(value, total, _preview, node_id=None):
        told.append((value, total))
        hook.answer()

    hook.told, hook.answer = told, lambda: None
    before = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(hook)
    yield hook
    comfy.utils.set_progress_bar_global_hook(before)


def clip_set():
    return ClipSet.execute(
        clip=load_clip(), vae=ShapesVAE(), folder="demo: natural", captions="", frames=8, fps=0.0,
        stride=1, width=128, height=128, crop="centre",
    )  # fmt: skip  # many short values, several a line


def test_a_set_fills_the_bar_file_by_file(bar):
    clip_set()
    values, totals = zip(*bar.told, strict=True)
    assert list(values) == sorted(values)
    assert (values[0], values[-1], {*totals}) == (0, totals[0], {totals[0]})
    assert len({*values}) > 16  # of 16 clips, each looked at and encoded


def test_cancel_is_heard_while_the_first_clip_is_decoded_for_the_wire(bar):
    def press() -> None:
        if bar.told[-1][0] == bar.told[-1][1]:  # the set is made
            comfy.model_management.interrupt_current_processing(True)

    bar.answer = press
    with pytest.raises(InterruptProcessingException):
        clip_set()


@pytest.mark.parametrize("calls", [1, 5, 20])
def test_a_set_that_is_cancelled_stops_there_and_leaves_nothing(calls, bar, user_folder):
    def press() -> None:
        if len(bar.told) == calls:
            comfy.model_management.interrupt_current_processing(True)

    bar.answer = press
    with pytest.raises(InterruptProcessingException):
        clip_set()
    assert len(bar.told) == calls
    assert not [path for path in user_folder.rglob("*") if path.is_file()]
    bar.answer = lambda: None
    clip_set()
