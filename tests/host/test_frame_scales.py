"""Scales from frame to frame in a MODEL: each frame has its own, in windows, batches and CFG."""

import inspect

import pytest
import torch
from comfy.context_windows import IndexListContextWindow
from comfy_extras.nodes_hypertile import HyperTile

from helpers.host import world
from helpers.host.recorded import asked, given
from still_moving.adapters.files.adapter import Adapter
from still_moving.adapters.frame_scales import FrameScales, parse_key_frames
from still_moving.adapters.host.calls import call_of
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.spatial_adapter import Mode, apply_spatial_adapter
from still_moving.adapters.host.windows import FrameWindow, apply_windows
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.adapters.worlds.model import load_controlnet
from still_moving.common.errors import UserError
from still_moving.nodes.apply.scales import ScaleOverFrames
from still_moving.worlds.shapes.files import CONTROLNET, WEIGHTS

pytestmark = pytest.mark.every_comfyui

SAME = 1e-5
NEWER = "total_frames" in inspect.signature(IndexListContextWindow).parameters
ON_THEN_OFF = parse_key_frames("0: 1\n2: 0", "step")  # frames 0 and 1


@pytest.fixture(scope="module")
def model():
    return world.plain()


def motion(model, scale):
    return apply_motion_adapter(model, world.motion_adapter(), scale, "a")[0]


def spatial(model, scale, mode: Mode = "auto", sites="layers"):
    return apply_spatial_adapter(model, world.spatial_adapter(sites), scale, mode, "a")[0]


def test_the_same_scale_in_every_frame_is_the_slider_itself(model):
    moving = world.moving(model)
    for scale in (FrameScales(((0, 1.0), (3, 1.0))), ScaleSchedule(1.0, 1.0)):
        adapted = motion(moving, scale)
        assert adapted.additional_models.keys() == moving.additional_models.keys()
        assert torch.equal(world.sample(adapted), world.sample(motion(moving, 1.0)))
        assert torch.equal(
            world.sample(spatial(moving, scale, "merged")), world.sample(spatial(moving, 1.0))
        )
    off = motion(spatial(moving, FrameScales(((0, 0.0),))), FrameScales(((1, 0.0),)))
    assert torch.equal(world.sample(off), world.sample(moving))


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_frames_that_happen_to_be_alike_equal_the_slider(model, scale):
    beyond = FrameScales(((0, scale), (100, 0.3)), curve="step")
    moving = world.moving(model)
    for apply in (motion, spatial):
        expected = world.sample(apply(moving, scale))
        assert world.difference(world.sample(moving), expected) > 0.01
        assert world.difference(world.sample(apply(moving, beyond)), expected) < SAME


def test_each_frame_asks_with_its_own_scale(model):
    moving = world.moving(model)
    both, on, off = (asked(motion(moving, s)) for s in (ON_THEN_OFF, 1.0, 0.0))
    assert len(both) == len(on) > 0
    for mixed, whole, none in zip(both, on, off, strict=True):
        assert world.difference(none, whole) > 0.01
        assert world.difference(mixed[:, :2], whole[:, :2]) < SAME
        assert world.difference(mixed[:, 2:], none[:, 2:]) < SAME


def test_windows_give_each_frame_its_own_scale(model):
    windowed = apply_windows(world.moving(model), 4, 1, "looped")
    both, on, off = (asked(motion(windowed, s), 7) for s in (ON_THEN_OFF, 1.0, 0.0))
    windows = [w.index_list for w in windowed.model_options["context_handler"].windows(7)]
    assert len(both) == len(windows) > 2
    for frames, mixed, whole, none in zip(windows, both, on, off, strict=True):
        for i, frame in enumerate(frames):
            expected = whole if frame < 2 else none
            assert world.difference(mixed[:, i], expected[:, i]) < SAME


def test_steps_and_frames_multiply(model):
    moving = world.moving(model)
    plain = asked(moving)[0]
    for start in (1.0, 0.0):  # whether the first step has the adapter, or the last one
        steps = ScaleSchedule(start, 1.0 - start, "step", 0.5, 0.5)
        adapted = motion(moving, parse_key_frames("0: 1\n2: 0", "step", steps))
        first = asked(adapted)[0]
        assert (world.difference(first[:, :2], plain[:, :2]) > 0.01) == (start == 1.0)
        assert world.difference(first[:, 2:], plain[:, 2:]) < SAME
        clip = world.sample(moving, steps=4)
        assert world.difference(world.sample(adapted, steps=4), clip) > 1e-3


def test_a_call_knows_its_frames_in_anybodys_windows(model):
    x, sigmas = torch.zeros(6, 4, 8, 5), torch.ones(6)
    both = {"cond_or_uncond": [0, 1]}
    core = IndexListContextWindow([4, 5], 0, **({"total_frames": 9} if NEWER else {}))

    model.pre_run()  # a call belongs to the patcher that runs

    def seen(**options):
        call = call_of(model.model, x, sigmas, both | options)
        assert (call.clips, call.frames, call.size) == (2, 3, (8, 5))
        return call.indexes, call.total

    assert seen() == ((0, 1, 2), 3)
    assert seen(context_window=FrameWindow([7, 8, 0], 9)) == ((7, 8, 0), 9)
    evolved = {"sub_idxs": [3, 4, 5], "full_length": 20, "context_length": 3}
    assert seen(ad_params=evolved) == ((3, 4, 5), 20)
    # Every frame at once, as AnimateDiff-Evolved says it outside of windows.
    assert seen(ad_params=evolved | {"sub_idxs": None}) == ((0, 1, 2), 3)
    core.causal_anchor_index = 3  # newer ComfyUI puts a frame before a window
    assert seen(context_window=core) == ((3, 4, 5), 9 if NEWER else 6)


def control():
    """The shapes world's ControlNet with another outline in each frame."""
    hints = torch.rand(world.FRAMES, 3, 128, 128, generator=torch.Generator().manual_seed(5))
    return load_controlnet(WEIGHTS / CONTROLNET).set_cond_hint((hints > 0.9).float(), 1.0)


@pytest.mark.parametrize("sites", ["layers", "blocks"])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("with_control", [False, True])
def test_pictures_on_their_own_are_those_of_their_own_scale(model, sites, windows, with_control):
    source = apply_windows(model, 3, 1, "uniform") if windows else model
    extra = {"control": control(), "control_apply_to_uncond": True} if with_control else {}

    def sampled(scale, mode: Mode = "auto"):
        positive = [[world.text(world.PROMPT), dict(extra)]]
        return world.sample(spatial(source, scale, mode, sites), positive=positive)

    both, on, off = sampled(ON_THEN_OFF), sampled(1.0, "runtime"), sampled(0.0)
    assert world.difference(off, on) > 0.01
    assert world.difference(both[:2], on[:2]) < SAME
    assert world.difference(both[2:], off[2:]) < SAME


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    moving = world.moving(world.stored_as(dtype))
    adapted = motion(spatial(moving, ON_THEN_OFF), ON_THEN_OFF)
    assert world.sample(adapted).isfinite().all()


def test_the_plain_model_is_left_alone(model):
    moving = world.moving(model)
    before = world.sample(moving)
    world.sample(motion(spatial(moving, ON_THEN_OFF), ON_THEN_OFF))
    assert torch.equal(world.sample(moving), before)


def test_a_picture_in_tiles_keeps_the_scale_of_its_frame(model):
    layer = "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0"
    adapter = Adapter(world.spatial_adapter().info, {layer: world.small_pair(0)})
    tiled = HyperTile.execute(model, 32, 1, 0, False)[0]
    both, on, off = (
        given(apply_spatial_adapter(tiled, adapter, s, "runtime", "a")[0], layer)
        for s in (ON_THEN_OFF, 1.0, 0.0)
    )
    tiles = len(both) // (2 * world.FRAMES)
    assert tiles > 1
    parts = [given.view(2, world.FRAMES, tiles, *given.shape[1:]) for given in (both, on, off)]
    assert world.difference(parts[2], parts[1]) > 1e-3
    assert torch.equal(parts[0][:, :2], parts[1][:, :2])
    assert torch.equal(parts[0][:, 2:], parts[2][:, 2:])


def test_what_cannot_change_from_frame_to_frame_says_so(model):
    with pytest.raises(UserError, match=r"a scale that changes.*cannot be merged"):
        spatial(world.moving(model), ON_THEN_OFF, "merged")


def test_the_node_says_what_is_wrong_before_anything_runs():
    default = ScaleOverFrames.GET_SCHEMA().inputs[0].default
    assert ScaleOverFrames.validate_inputs(default, "linear") is True
    assert "8 after 9" in str(ScaleOverFrames.validate_inputs("9: 1\n8: 0", "linear"))
    assert ScaleOverFrames.validate_inputs(None, "linear") is True  # comes through a wire
    (scale,) = ScaleOverFrames.execute(default, "linear", ScaleSchedule(0.0, 1.0)).args
    assert scale.at(0.5, [0, 10], 11) == [0.5, -0.5]
