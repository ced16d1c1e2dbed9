"""Motion modules and Motion Adapters in a MODEL: exact where nothing is asked, gone afterwards."""

import gc
from dataclasses import replace

import pytest
import torch
from comfy_extras.nodes_model_advanced import LCM

from helpers.host import world
from still_moving.adapters.files.adapter import Adapter, load_adapter, save_adapter
from still_moving.adapters.host.hooks import add_scoped_hooks, submodule
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import KEY, apply_motion_module, motion_limit
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.common.errors import UserError

pytestmark = pytest.mark.every_comfyui


@pytest.fixture(scope="module")
def model():
    return world.plain()


def hooks_on(model) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks)
        for patcher in (model, *model.get_additional_models())
        for m in patcher.model.modules()
    )


def test_a_motion_module_moves_and_leaves_no_trace(model):
    before = world.sample(model)
    moved = world.sample(world.moving(model))
    assert world.difference(moved, before) > 0.05
    assert hooks_on(model) == 0
    assert torch.equal(world.sample(model), before)


def test_clones_and_garbage_collection_change_nothing(model):
    moving = world.moving(model)
    first = world.sample(moving)
    for _ in range(3):
        clone = moving.clone()
        world.sample(clone)
        del clone
        gc.collect()
        assert torch.equal(world.sample(moving), first)
    both = [world.sample(m) for m in (world.moving(model), model, world.moving(model))]
    assert torch.equal(both[0], both[2])
    assert torch.equal(both[0], first)


def test_a_failed_sampling_leaves_no_hook(model):
    def fail(*_):
        raise ArithmeticError("in the middle of a call")

    broken = world.moving(model)
    broken.model_options["model_function_wrapper"] = lambda apply, args: apply(
        args["input"], args["timestep"], **args["c"]
    )
    handle = submodule(model.model.diffusion_model, "middle_block.0").register_forward_hook(fail)
    try:
        with pytest.raises(ArithmeticError):
            world.sample(broken)
    finally:
        handle.remove()
    assert hooks_on(broken) == 0


def test_one_frame_is_a_plain_image(model):
    moving = apply_motion_module(model, world.motion_module(), "model's own")
    assert torch.equal(world.sample(moving, 1), world.sample(model, 1))


def test_more_frames_than_the_limit_name_the_way_out(model):
    moving = world.moving(model)
    limit = motion_limit(moving)
    assert limit == 32
    with pytest.raises(UserError, match=rf"{limit + 1} frames.*at most {limit}.*Context Windows"):
        world.sample(moving, limit + 1, steps=1)
    assert hooks_on(moving) == 0


def test_applying_twice_is_applying_once(model):
    once = world.moving(model)
    assert torch.equal(world.sample(world.moving(once)), world.sample(once))


def test_schedules(model):
    sigmas = {
        name: apply_motion_module(model, world.motion_module(), name).get_model_object(
            "model_sampling"
        )
        for name in ("auto", "AnimateDiff", "AnimateLCM", "model's own")
    }
    for name in ("auto", "AnimateDiff"):
        assert float(sigmas[name].sigma_max) == pytest.approx(25.15, abs=0.01)
        assert not list(sigmas[name].buffers())
    assert float(sigmas["AnimateLCM"].sigma_max) == pytest.approx(25.15, abs=0.01)
    assert isinstance(sigmas["AnimateLCM"], LCM)
    assert len(sigmas["AnimateLCM"].sigmas) == 100
    assert sigmas["model's own"] is model.get_model_object("model_sampling")


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "ddim", "uni_pc", "lcm"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_samplers_and_cfg(model, sampler, cfg):
    moving = world.moving(model)
    clip = world.sample(moving, sampler_name=sampler, cfg=cfg)
    assert clip.isfinite().all()
    assert world.difference(clip, world.sample(model, sampler_name=sampler, cfg=cfg)) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_other_precisions(dtype):
    stored, whole = world.stored_as(dtype), world.moving()
    clip = world.sample(world.moving(stored))
    coarse = 0.5 if dtype == torch.float8_e4m3fn else 0.05
    assert world.difference(clip, world.sample(whole)) < coarse
    adapted, _ = apply_motion_adapter(world.moving(stored), world.motion_adapter(), -1.0, "a")
    assert world.sample(adapted).isfinite().all()


# ------------------------------------------------------------------------------ Motion Adapter
def test_scale_0_changes_nothing_bit_for_bit(model):
    moving = world.moving(model)
    first = world.sample(moving)
    for scale in (0.0, ScaleSchedule(0.0, 0.0), ScaleSchedule(1.0, 0.0, "step", 0.0, 0.0)):
        adapted, warnings = apply_motion_adapter(moving, world.motion_adapter(), scale, "a")
        assert torch.equal(world.sample(adapted), first)
        assert warnings == []


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_a_flat_schedule_equals_the_slider(model, scale):
    adapter, moving = world.motion_adapter(), world.moving(model)
    patched, _ = apply_motion_adapter(moving, adapter, scale, "a")
    scheduled, _ = apply_motion_adapter(moving, adapter, world.always(scale), "a")
    expected = world.sample(patched)
    assert world.difference(expected, world.sample(moving)) > 0.01
    assert world.difference(world.sample(scheduled), expected) < 1e-5


def test_a_schedule_is_each_scale_in_its_part_of_sampling(model):
    adapter, moving = world.motion_adapter(), world.moving(model)
    step = ScaleSchedule(1.0, 0.0, "step", 0.3, 0.3)
    scheduled = world.sample(apply_motion_adapter(moving, adapter, step, "a")[0], steps=4)
    on, off = (apply_motion_adapter(moving, adapter, s, "a")[0] for s in (1.0, 0.0))
    assert world.difference(scheduled, world.sample(on, steps=4)) > 1e-3
    assert world.difference(scheduled, world.sample(off, steps=4)) > 1e-3
    # All of sampling lies before 100 %.
    late = ScaleSchedule(1.0, 0.0, "step", 1.0, 1.0)
    flat = world.sample(apply_motion_adapter(moving, adapter, late, "a")[0])
    assert world.difference(flat, world.sample(on)) < 1e-5


def test_adapters_in_a_row_add_up(model):
    adapter, moving = world.motion_adapter(), world.moving(model)
    for first in (0.75, world.always(0.75)):
        one, _ = apply_motion_adapter(moving, adapter, first, "a")
        for second in (-0.25, world.always(-0.25)):
            two, _ = apply_motion_adapter(one, adapter, second, "a")
            half, _ = apply_motion_adapter(moving, adapter, 0.5, "a")
            assert world.difference(world.sample(two), world.sample(half)) < 1e-5


def test_an_adapter_stays_on_its_own_branch(model):
    moving = world.moving(model)
    before = world.sample(moving)
    adapted, _ = apply_motion_adapter(moving, world.motion_adapter(), 1.0, "a")
    world.sample(adapted)
    assert torch.equal(world.sample(moving), before)


def test_a_saved_adapter_is_the_same(model, tmp_path):
    adapter, moving = world.motion_adapter(), world.moving(model)
    save_adapter(tmp_path / "a.safetensors", adapter)
    loaded = load_adapter(tmp_path / "a.safetensors", kind="motion")
    samples = [
        world.sample(apply_motion_adapter(moving, a, 1.0, "a")[0]) for a in (adapter, loaded)
    ]
    assert torch.equal(*samples)


def test_a_model_without_a_motion_module_says_what_to_do(model):
    with pytest.raises(UserError, match="Apply Motion Module before"):
        apply_motion_adapter(model, world.motion_adapter(), 1.0, "mine.safetensors")


def test_layers_that_are_not_there_are_listed(model):
    adapter = world.motion_adapter()
    strange = "down_blocks.7.motion_modules.0.temporal_transformer.transformer_blocks.0"
    strange += ".attention_blocks.0.to_q"
    more = Adapter(adapter.info, {**adapter.pairs, strange: next(iter(adapter.pairs.values()))})
    adapted, warnings = apply_motion_adapter(world.moving(model), more, 1.0, "mine.safetensors")
    assert len(warnings) == 1
    assert strange in warnings[0]
    same, _ = apply_motion_adapter(world.moving(model), adapter, 1.0, "a")
    assert torch.equal(world.sample(adapted), world.sample(same))
    with pytest.raises(UserError, match="1 of 1 layers not there"):
        apply_motion_adapter(
            world.moving(model), Adapter(adapter.info, {strange: more.pairs[strange]}), 1.0, "a"
        )


def test_an_adapter_of_another_motion_module_is_told_apart(model):
    adapter = world.motion_adapter()
    info = replace(adapter.info, motion_module="b" * 64, motion_module_name="mm_other.ckpt")
    _, warnings = apply_motion_adapter(
        world.moving(model), Adapter(info, adapter.pairs), 1.0, "mine.safetensors"
    )
    assert len(warnings) == 1
    assert "mm_other.ckpt" in warnings[0]
    assert "shapes_motion_module.safetensors" in warnings[0]
    own = replace(info, motion_module=world.motion_module().hash)
    assert apply_motion_adapter(world.moving(model), Adapter(own, adapter.pairs), 1.0, "a")[1] == []


def test_other_models_are_refused_by_name(model):
    other = model.clone()
    other.add_object_patch("diffusion_model", torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"Linear.*SD1\.5"):
        apply_motion_module(other, world.motion_module())


def test_one_registrar_a_key(model):
    calls = []
    twice = model.clone()
    for name in "ab":
        add_scoped_hooks(twice, KEY, lambda *_, name=name: calls.append(name) or [])
    world.sample(twice, steps=1)
    assert set(calls) == {"b"}
