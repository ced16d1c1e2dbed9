"""Merged motion modules in a MODEL: a mean where one is asked, and else the very module alone."""

import gc
import weakref
from dataclasses import replace
from functools import cache
from typing import Any

import comfy.model_management
import pytest
import torch

from helpers.host import world
from still_moving.adapters.files.adapter import Adapter
from still_moving.adapters.files.motion_merge import read_merged
from still_moving.adapters.files.motion_parts import to_metadata
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.frame_scales import parse_key_frames
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_merge import merge_motion_modules as merged
from still_moving.adapters.host.motion_module import (
    LoadedMotionModule,
    apply_motion_module,
    load_motion_module,
    motion_limit,
    motion_patcher,
)
from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
from still_moving.adapters.host.views import ViewPlan, apply_views
from still_moving.adapters.host.windows import apply_windows
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.adapters.worlds.model import load_controlnet
from still_moving.common.errors import UserError
from still_moving.worlds.shapes.files import CONTROLNET, WEIGHTS

pytestmark = pytest.mark.every_comfyui
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return world.plain()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> tuple[LoadedMotionModule, LoadedMotionModule]:
    """Two that were made from the shapes world's motion module."""
    folder = tmp_path_factory.mktemp("modules")
    first = world.write_tuned_module(folder / "one.safetensors", 1)
    return first, world.write_tuned_module(folder / "two.safetensors", 2)


def sampled(model, module, **options):
    return world.sample(apply_motion_module(model, module), **options)


def network(model):
    patcher = motion_patcher(model)
    assert patcher is not None
    return patcher.model


def test_at_an_end_it_is_the_one_module_bit_for_bit(model, tuned):
    one, two = tuned
    first, second = (sampled(model, load_motion_module(m.parts[0].path)) for m in tuned)
    assert world.difference(first, second) > 0.01
    assert torch.equal(sampled(model, merged(one, two, 1.0)), first)
    assert torch.equal(sampled(model, merged(one, two, 0.0)), second)
    assert torch.equal(sampled(model, merged(one, one, 0.3)), first)
    half = merged(one, two, 0.5)
    for same in (merged(half, two, 1.0), merged(half, half, 0.3), merged(two, half, 0.0)):
        assert same is half  # nothing is read or kept twice


def test_between_it_is_what_comfyuis_own_merge_gives(model, tuned):
    """As ModelMergeSimple has it: the first times the ratio, the second times the rest."""
    one, two = tuned
    clip = sampled(model, merged(one, two, 0.3))
    for alone in tuned:
        assert world.difference(sampled(model, alone), clip) > 0.01
    moving = apply_motion_module(model, one)
    patched = motion_patcher(moving)
    second = motion_patcher(apply_motion_module(model, two))
    assert patched is not None
    assert second is not None
    patched.add_patches(second.get_key_patches(), 1.0 - 0.3, 0.3)
    assert world.difference(world.sample(moving), clip) < 1e-5


def test_three_modules_are_one_mean_in_any_order(model, tuned):
    one, two, own = *tuned, world.motion_module()
    by_first = merged(merged(one, two, 0.5), own, 2 / 3)
    by_last = merged(own, merged(two, one, 0.5), 1 / 3)
    assert torch.equal(sampled(model, by_first), sampled(model, by_last))
    assert by_first.hash == by_last.hash


def test_nothing_is_left_on_what_was_merged(model, tuned):
    plain, (one, two) = world.sample(model), tuned
    before = [sampled(model, m) for m in tuned]
    stays = one.parts, one.hash, one.name, one.info
    mixed = apply_motion_module(model, merged(one, two, 0.6))
    adapted, _ = apply_motion_adapter(mixed, world.motion_adapter(), 1.0, "a")
    world.sample(adapted)
    assert all(torch.equal(sampled(model, m), b) for m, b in zip(tuned, before, strict=True))
    assert torch.equal(world.sample(model), plain)
    assert (one.parts, one.hash, one.name, one.info) == stays
    assert not any(m._forward_hooks for p in (model, mixed) for m in p.model.modules())


def test_it_goes_with_its_model(model, tuned):
    one, two = (load_motion_module(m.parts[0].path) for m in tuned)
    module = merged(one, two, 0.45)
    moving = apply_motion_module(model, module)
    world.sample(moving)
    gone = weakref.ref(network(moving))
    (carried,) = moving.get_additional_models()  # it takes the room of one
    own = world.motion_module().patcher(torch.float32, moving.load_device)
    assert carried.model_size() == own.model_size()
    del carried
    for part in (one, two):
        assert not part._patchers  # the mean was made of the files alone
    comfy.model_management.unload_all_models()
    del moving, module
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_model_says_what_it_computes_in(tuned, dtype):
    """Whatever the files are in: here fp32 beside the shapes world's own fp16."""
    half = merged(tuned[0], world.motion_module(), 0.5)
    moving = apply_motion_module(world.plain(), half)
    moving.add_object_patch("manual_cast_dtype", dtype)
    moving = apply_motion_module(moving, half)
    whole = read_merged(half.parts).tensors
    for name, weight in network(moving).state_dict().items():
        assert whole[name].dtype == torch.float32
        assert torch.equal(weight, whole[name].to(dtype))


def test_it_can_be_made_anew(model, tuned):
    """As ComfyUI does for another GPU, and where dynamic VRAM is off."""
    patcher: Any = motion_patcher(apply_motion_module(model, merged(tuned[0], tuned[1], 0.3)))
    if not hasattr(patcher, "cached_patcher_init"):
        pytest.skip("an older ComfyUI makes no second copies")
    make, arguments = patcher.cached_patcher_init
    for named in ({}, {"disable_dynamic": True}, {"device": CPU}):
        twin = make(*arguments, **named).model
        assert twin is not patcher.model
        ours, theirs = twin.state_dict(), patcher.model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert twin.file_name == patcher.model.file_name


# ------------------------------------------------------------- every other control beside it
@cache
def mask():
    return (torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(4)) > 0.5).float()


def with_adapter(model, scale, where=None):
    return apply_motion_adapter(model, world.motion_adapter(), scale, "a", where)[0]


def with_control(_model):
    hint = torch.rand(8, 128, 128, 3, generator=torch.Generator().manual_seed(5))
    control = load_controlnet(WEIGHTS / CONTROLNET).set_cond_hint(hint.movedim(-1, 1), 0.8)
    return {"positive": [[world.text(world.PROMPT), {"control": control}]]}


CONTROLS = {
    "CFG": (lambda m: m, {"cfg": 4.0}),
    "no CFG": (lambda m: m, {"cfg": 1.0}),
    "a batch of one": (lambda m: m, {"frames": 1}),
    "a Motion Adapter": (lambda m: with_adapter(m, -0.5), {}),
    "over steps": (lambda m: with_adapter(m, ScaleSchedule(1.0, -0.5, "smooth")), {}),
    "over frames": (lambda m: with_adapter(m, parse_key_frames("0: 1\n3: -1", "linear")), {}),
    "in a mask": (lambda m: with_adapter(m, 1.0, mask()), {}),
    "a Spatial Adapter": (
        lambda m: apply_spatial_adapter(m, world.spatial_adapter(), 1.0, "auto", "a")[0],
        {},
    ),
    "Context Windows": (lambda m: apply_windows(m, 4, 1, "looped"), {"frames": 8}),
    "Motion Views": (lambda m: apply_views(m, ViewPlan(4, 1, "looped"), 32), {"frames": 8}),
    "ControlNet": (lambda m: m, {"frames": 8, "control": True}),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_it_takes_every_control_as_a_file_of_those_weights_does(model, tuned, control, tmp_path):
    module = merged(tuned[0], tuned[1], 0.7)
    tensors = read_merged(module.parts).tensors
    write_tensors(tmp_path / "it.safetensors", tensors, to_metadata(module.parts))
    change, options = CONTROLS[control]
    clips = []
    for it in (module, load_motion_module(tmp_path / "it.safetensors")):
        given = dict(options)
        if given.pop("control", False):
            given |= with_control(model)
        clips.append(world.sample(change(apply_motion_module(model, it)), **given))
    assert torch.equal(*clips)
    assert clips[0].isfinite().all()


# --------------------------------------------------------------------------------- messages
def test_messages_name_both_files(model, tuned):
    moving = apply_motion_module(model, merged(tuned[0], tuned[1], 0.3))
    limit = motion_limit(moving)
    assert limit is not None
    with pytest.raises(UserError, match=r"^0\.3 one\.safetensors \+ 0\.7 two\.safetensors: found"):
        world.sample(moving, limit + 1, steps=1)


def test_an_adapter_is_told_apart_from_those_of_its_parts(model, tuned):
    one, two = tuned
    half, other = merged(one, two, 0.5), merged(one, two, 0.6)

    def warnings(trained_on, sampled_with) -> list[str]:
        adapter = world.motion_adapter()
        named = {"motion_module": trained_on.hash, "motion_module_name": trained_on.name}
        own = Adapter(replace(adapter.info, **named), adapter.pairs)
        moving = apply_motion_module(model, sampled_with)
        return apply_motion_adapter(moving, own, 1.0, "mine.safetensors")[1]

    assert warnings(half, merged(two, one, 0.5)) == []
    both = "0.5 one.safetensors + 0.5 two.safetensors"
    (text,) = warnings(half, one)
    assert f"trained on the motion module {both}, this is one.safetensors" in text
    (text,) = warnings(two, half)
    assert f"trained on the motion module two.safetensors, this is {both}" in text
    assert len(warnings(half, other)) == 1


def test_a_module_of_another_kind_is_refused_at_any_ratio(tuned):
    short = replace(tuned[0].info, max_frames=24)
    other = LoadedMotionModule((replace(tuned[0].parts[0], hash="b" * 64, name="b.ckpt"),), short)
    for ratio in (0.0, 0.5, 1.0):
        with pytest.raises(UserError, match=r"b\.ckpt: found .* 24 frames, .* 32 frames"):
            merged(tuned[0], other, ratio)
