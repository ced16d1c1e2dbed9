"""Clones of one MODEL under DynamicVRAM, a node each: in any order as each gives alone."""

import random
from collections.abc import Callable

import comfy.hooks
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from helpers import card
from helpers.host import world
from still_moving.adapters.files.motion_weights import load_motion_weights
from still_moving.adapters.frame_scales import FrameScales
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_weights import apply_to_model
from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
from still_moving.adapters.host.views import ViewPlan, apply_views
from still_moving.adapters.host.windows import apply_windows
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.adapters.worlds.model import WorldModel
from still_moving.worlds.shapes.files import CUSTOMIZED, WEIGHTS

CHANGES = ScaleSchedule(1.0, -0.5, "smooth")
# A second copy of the network holds the file's fp16 where the first one has fp32: core's own.
COPY = 5e-3

Node = Callable[[ModelPatcher], ModelPatcher]


def motion(scale: float | ScaleSchedule) -> Node:
    return lambda model: apply_motion_adapter(model, world.motion_adapter(), scale, "a")[0]


def spatial(mode) -> Node:
    return lambda model: apply_spatial_adapter(model, world.spatial_adapter(), 1.0, mode, "a")[0]


def masked(model: ModelPatcher) -> ModelPatcher:
    mask, frames = torch.eye(16), FrameScales(((0, 1.0), (3, -0.5)), times=CHANGES)
    model = apply_motion_adapter(model, world.motion_adapter(), frames, "a", mask)[0]
    return apply_spatial_adapter(model, world.spatial_adapter(), frames, "auto", "a", mask)[0]


def injected(amount: float) -> Node:
    return lambda model: inject_checkpoint(model, WEIGHTS / CUSTOMIZED, amount)


def taught(model: ModelPatcher) -> ModelPatcher:
    weights = load_motion_weights(WEIGHTS / "shapes_circle_newmove.safetensors")
    return apply_to_model(model, weights, 1.0, "w")[0]


NODES: dict[str, Node] = {
    "motion module": lambda model: model,
    "Motion Adapter, merged": motion(1.0),
    "Motion Adapter, scheduled": motion(CHANGES),
    "Spatial Adapter, merged": spatial("merged"),
    "Spatial Adapter, run time": spatial("runtime"),
    "injection 1": injected(1.0),
    "injection 0.5": injected(0.5),
    "motion weights": taught,
    "in a mask, frame by frame": masked,
    "views": lambda model: masked(apply_views(model, ViewPlan(3, 1, "uniform"), 32)),
    "windows": lambda model: apply_windows(model, 3, 1, "uniform"),
}


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    """As ComfyUI executes a graph."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", autouse=True)
def own_schedule():
    """SD1.5's noise schedule, as every real checkpoint has it: not the motion module's."""
    with pytest.MonkeyPatch.context() as patch:
        settings = WorldModel.sampling_settings | {"beta_schedule": "linear"}
        patch.setattr(WorldModel, "sampling_settings", settings)
        yield


def made(base: ModelPatcher) -> dict[str, ModelPatcher]:
    return {"plain": base} | {name: node(world.moving(base)) for name, node in NODES.items()}


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    """What each gives that shares its network with no other."""
    return {name: world.sample(made(world.plain())[name]) for name in ("plain", *NODES)}


def test_clones_are_right_in_every_order(alone):
    models = made(world.plain())
    turns = list(models) * 2
    random.Random(3).shuffle(turns)
    for name in turns:
        assert torch.equal(world.sample(models[name]), alone[name]), name


def with_hooks(model: ModelPatcher) -> Tensor:
    """Sampled with a hook on the prompt, for which ComfyUI makes a copy without DynamicVRAM."""
    hook = comfy.hooks.WeightHook(strength_model=0.0)
    hook.weights, hook.need_weight_init = {}, False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return world.sample(model, positive=[[world.text(world.PROMPT), {"hooks": group}]])


def test_copies_without_dynamic_vram_are_right(alone):
    for name, model in made(world.plain()).items():
        assert world.difference(with_hooks(model), alone[name]) < COPY, name
        deep = model.clone(disable_dynamic=True)
        assert not deep.is_dynamic()
        assert world.difference(world.sample(deep), alone[name]) < COPY, name
        assert torch.equal(world.sample(model), alone[name]), name


def test_pairs_are_copied_to_the_card_by_no_call():
    models = made(world.plain())
    for name in ("Motion Adapter, scheduled", "Spatial Adapter, run time"):
        world.sample(models[name])
        with card.watch() as few:
            world.sample(models[name], steps=2)
        with card.watch() as many:
            world.sample(models[name], steps=5)
        for seen in (few, many):
            assert not [place for _, place in seen.places if "adapters/host/pairs" in place]
        # A step more costs what a step of the motion module costs, and one look at the clock.
        assert many.counted["h2d"] - few.counted["h2d"] <= 3 * 6, name
