"""What other packs put into conditions and MODELs, beside Context Windows and a motion module.

tests/host/packs asks the packs themselves, where they are.
"""

from types import SimpleNamespace

import pytest
import torch
from comfy.controlnet import ControlNet
from torch import Tensor

from helpers.host import world
from helpers.host.graph import close
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import apply_motion_module, build_patcher
from still_moving.adapters.host.windows import apply_windows
from still_moving.adapters.worlds.model import load_controlnet
from still_moving.common.errors import UserError
from still_moving.worlds.shapes.files import CONTROLNET, WEIGHTS

pytestmark = pytest.mark.every_comfyui

FRAMES, LENGTH = 8, 4


class Cutting(ControlNet):
    """Cuts its own hints, as Advanced-ControlNet's do: a method of its own, bound to itself."""

    def __init__(self) -> None:
        loaded = load_controlnet(WEIGHTS / CONTROLNET)
        super().__init__(loaded.control_model, load_device=loaded.load_device)
        self.sub_idxs = None
        self.get_control = self.cut  # type: ignore[method-assign]  # that is what it does

    def cut(self, x, t, cond, batched_number, transformer_options):
        self.sub_idxs = transformer_options.get("ad_params", {}).get("sub_idxs")
        whole: Tensor = self.cond_hint_original
        try:
            if self.sub_idxs is not None:
                self.cond_hint, self.cond_hint_original = None, whole[self.sub_idxs]
            return ControlNet.get_control(self, x, t, cond, batched_number, transformer_options)
        finally:
            self.cond_hint_original = whole


def chained(*kinds: str) -> ControlNet:
    """Controls one after the other, each with another hint for each frame."""
    before = None
    for seed, kind in enumerate(kinds):
        control = Cutting() if kind == "cutting" else load_controlnet(WEIGHTS / CONTROLNET)
        generator = torch.Generator().manual_seed(seed)
        hints = torch.rand(FRAMES, 3, 8 * world.SIZE, 8 * world.SIZE, generator=generator)
        before = control.set_previous_controlnet(before).set_cond_hint(hints, 0.5)
    assert before is not None
    return before


def steered(model, control: ControlNet) -> Tensor:
    return world.sample(model, FRAMES, positive=[[world.text(world.PROMPT), {"control": control}]])


CHAINS = [("cutting",), ("core", "cutting"), ("cutting", "core"), ("core", "cutting", "core")]


@pytest.mark.parametrize("kinds", CHAINS, ids=" ".join)
def test_controls_that_cut_their_own_hints_are_left_to_do_so(kinds):
    model, control = world.plain(), chained(*kinds)
    links = [control, *previous(control)]
    expected = steered(model, control)
    assert world.difference(expected, world.sample(model, FRAMES)) > 0.01
    windowed = steered(apply_windows(model, LENGTH, 1, "uniform"), control)
    close(windowed, expected)
    assert [control, *previous(control)] == links  # the same objects
    assert torch.equal(steered(model, control), expected)


def previous(control: ControlNet) -> list:
    before = control.previous_controlnet
    return [] if before is None else [before, *previous(before)]


def test_windows_say_which_frames_they_are_and_leave_no_trace():
    seen = []

    def look(apply_model, args):
        seen.append(args["c"]["transformer_options"].get("ad_params"))
        return apply_model(args["input"], args["timestep"], **args["c"])

    model = world.plain()
    model.set_model_unet_function_wrapper(look)
    model.model_options["transformer_options"]["ad_params"] = {"mine": 1, "sub_idxs": None}
    world.sample(apply_windows(model, LENGTH, 0, "uniform"), FRAMES, steps=1, cfg=1.0)
    world.sample(model, FRAMES, steps=1, cfg=1.0)
    both = {"mine": 1, "full_length": FRAMES, "context_length": LENGTH}
    assert seen == [
        both | {"sub_idxs": list(range(LENGTH))},
        both | {"sub_idxs": list(range(LENGTH, FRAMES))},
        {"mine": 1, "sub_idxs": None},
    ]


@pytest.fixture
def evolved():
    """A MODEL as AnimateDiff-Evolved leaves it: with a motion module under its own key."""
    model = world.plain()
    other = build_patcher(world.motion_module().parts, torch.float32, torch.device("cpu"))
    model.set_additional_models("ADE", [other])
    return model


def test_two_packs_motion_modules_are_refused_wherever_they_meet(evolved):
    module = world.motion_module()
    with pytest.raises(UserError, match="AnimateDiff-Evolved's motion module beside"):
        apply_motion_module(evolved, module)
    after = apply_motion_module(world.plain(), module)
    after.set_additional_models("ADE", evolved.get_additional_models_with_key("ADE"))
    with pytest.raises(UserError, match="Take out Apply Motion Module, or AnimateDiff-Evolved"):
        world.sample(after)


def test_an_adapter_says_whose_motion_module_it_found(evolved):
    with pytest.raises(UserError, match="a model with AnimateDiff-Evolved's motion module"):
        apply_motion_adapter(evolved, world.motion_adapter(), 1.0, "mine.safetensors")


def test_context_windows_refuse_what_they_cannot_cut(evolved):
    with pytest.raises(UserError, match="AnimateDiff-Evolved's Context Options to its own loader"):
        apply_windows(evolved, LENGTH, 1, "uniform")
    options = SimpleNamespace(context_options=SimpleNamespace(context_length=LENGTH))
    model = world.moving()
    windowed = apply_windows(model, LENGTH, 1, "uniform")
    windowed.set_attachments("ADE_params", options)
    model.set_attachments("ADE_params", options)
    with pytest.raises(UserError, match="windows of windows"):
        apply_windows(model, LENGTH, 1, "uniform")
    with pytest.raises(UserError, match="windows of windows"):
        world.sample(windowed, FRAMES)
