"""Masks in which adapters act: at every layer's own size, frame by frame, gone where off."""

import pytest
import torch
from comfy_extras.nodes_hypertile import HyperTile
from torch import Tensor
from torch.nn import functional as F

from helpers.host import world
from helpers.host.recorded import asked, given
from helpers.small_files import SPATIAL_LAYERS
from still_moving.adapters.files.adapter import Adapter
from still_moving.adapters.frame_scales import parse_key_frames
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.spatial_adapter import Mode, apply_spatial_adapter
from still_moving.adapters.host.windows import apply_windows
from still_moving.common.errors import UserError
from still_moving.nodes.apply.motion import ApplyMotionAdapter
from still_moving.nodes.apply.spatial import ApplySpatialAdapter
from still_moving.nodes.shared import folders

pytestmark = pytest.mark.every_comfyui

SAME = 1e-5
FADING = parse_key_frames("0: 1\n3: -0.5", "linear")  # over world.FRAMES
ATTENTION = "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0"


@pytest.fixture(scope="module")
def model():
    return world.plain()


def drawn(count: int, height: int = 128, width: int = 128, seed: int = 1) -> Tensor:
    """Masks with edges anywhere, one a frame."""
    noise = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (height, width), mode="bilinear")[:, 0].round()


def only(layer: str) -> Adapter:
    """A Spatial Adapter on one layer, so that what comes into it is the same at every scale."""
    return Adapter(world.spatial_adapter().info, {layer: world.small_pair(0)})


def motion(model, scale, mask=None):
    return apply_motion_adapter(model, world.motion_adapter(), scale, "a", mask)[0]


def spatial(model, scale, mask=None, adapter=None, mode: Mode = "auto"):
    adapter = adapter or world.spatial_adapter()
    return apply_spatial_adapter(model, adapter, scale, mode, "a", mask)[0]


def at_layer(mask: Tensor, output: Tensor, size: tuple[int, int]) -> Tensor:
    """(frames, 1, h, w) for pictures, (frames, places, 1) for tokens: the mask's means there."""
    if output.ndim == 4:
        return F.interpolate(mask[:, None], output.shape[2:], mode="area")
    level = next(
        (h, w) for h, w in (size, (size[0] // 2, size[1] // 2)) if h * w == output.shape[1]
    )
    return F.interpolate(mask[:, None], level, mode="area").flatten(1)[..., None]


@pytest.mark.parametrize("count", [1, world.FRAMES])
def test_ones_are_no_mask_and_zeros_are_off(model, count):
    moving = world.moving(model)
    ones, zeros = torch.ones(count, 64, 64), torch.zeros(count, 64, 64)
    for apply in (motion, spatial):
        adapted = apply(moving, 1.0, ones)
        assert adapted.additional_models.keys() == moving.additional_models.keys()
        assert torch.equal(world.sample(adapted), world.sample(apply(moving, 1.0)))
        assert torch.equal(world.sample(apply(moving, 1.0, zeros)), world.sample(moving))
        assert torch.equal(world.sample(apply(moving, 0.0, drawn(1))), world.sample(moving))
    assert torch.equal(
        world.sample(spatial(moving, 1.0, ones, mode="merged")), world.sample(spatial(moving, 1.0))
    )


def test_white_for_all_frames_of_the_clip_equals_the_slider(model):
    moving = world.moving(model)
    white = torch.ones(world.FRAMES + 1, 32, 32)
    white[-1] = 0  # beyond the clip
    for apply in (motion, spatial):
        expected = world.sample(apply(moving, 1.0))
        assert world.difference(world.sample(moving), expected) > 0.01
        assert world.difference(world.sample(apply(moving, 1.0, white)), expected) < SAME


@pytest.mark.parametrize("layer", [*SPATIAL_LAYERS, "input_blocks.1.1"])
@pytest.mark.parametrize("count", [1, world.FRAMES])
def test_every_layer_gets_the_mask_at_its_own_size(model, layer, count):
    mask, adapter, size = drawn(count), only(layer), (world.SIZE, world.SIZE)
    scales = torch.tensor(FADING.at(0.5, range(world.FRAMES), world.FRAMES))
    masked = given(spatial(model, FADING, mask, adapter), layer)
    on, off = (given(spatial(model, s, None, adapter, "runtime"), layer) for s in (1.0, 0.0))
    amount = at_layer(mask, on, size).expand(world.FRAMES, *[-1] * (on.ndim - 1))
    amount = (amount * scales.view(-1, *[1] * (on.ndim - 1))).repeat(2, *[1] * (on.ndim - 1))
    assert 0.1 < mask.mean() < 0.9
    assert world.difference(off, on) > 1e-3
    assert world.difference(masked, off + amount * (on - off)) < SAME


def test_pictures_of_any_shape(model):
    layer = "middle_block.1.transformer_blocks.0.ff.net.2"
    mask, adapter, size = drawn(1, 50, 90), only(layer), (10, 14)
    masked = given(spatial(model, 1.0, mask, adapter), layer, size=size)
    on, off = (
        given(spatial(model, s, None, adapter, "runtime"), layer, size=size) for s in (1.0, 0.0)
    )
    shrunk = F.interpolate(mask[:, None], size, mode="area")[:, 0]
    expected = off + at_layer(shrunk, on, size) * (on - off)
    assert world.difference(masked, expected) < SAME


def by_place(mask: Tensor) -> Tensor:
    """A mask at the first temporal layer: (places, 1 or frames, 1)."""
    return (
        F.interpolate(mask[:, None], (world.SIZE, world.SIZE), mode="area").flatten(1).T[..., None]
    )


@pytest.mark.parametrize("count", [1, world.FRAMES])
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_motion_is_masked_place_by_place(model, count, cfg):
    moving, mask = world.moving(model), drawn(count)
    scales = torch.tensor(FADING.at(0.5, range(world.FRAMES), world.FRAMES))[:, None]
    (masked,) = asked(motion(moving, FADING, mask), cfg=cfg)
    (on,), (off,) = (asked(motion(moving, s), cfg=cfg) for s in (1.0, 0.0))
    amount = (by_place(mask) * scales).repeat(len(on) // world.SIZE**2, 1, 1)
    assert world.difference(off, on) > 0.01
    assert world.difference(masked, off + amount * (on - off)) < SAME


def test_windows_cut_the_masks_of_frames(model):
    windowed, mask = apply_windows(world.moving(model), 4, 1, "looped"), drawn(7)
    windows = [w.index_list for w in windowed.model_options["context_handler"].windows(7)]
    seen = [asked(m, 7) for m in (motion(windowed, 1.0, mask), motion(windowed, 1.0), windowed)]
    assert len(windows) > 2
    for frames, masked, on, off in zip(windows, *seen, strict=True):
        amount = by_place(mask[frames]).repeat(2, 1, 1)
        assert world.difference(masked, off + amount * (on - off)) < SAME


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    moving = world.moving(world.stored_as(dtype))
    adapted = motion(spatial(moving, 1.0, drawn(1)), 1.0, drawn(world.FRAMES))
    assert world.sample(adapted).isfinite().all()


def test_masks_that_share_the_picture_give_the_slider(model):
    moving, mask = world.moving(model), drawn(1)
    here, there = motion(moving, 1.0, mask), 1 - mask
    both = motion(here, 1.0, there)
    assert world.difference(world.sample(here), world.sample(motion(moving, 1.0))) > 1e-3
    assert world.difference(world.sample(both), world.sample(motion(moving, 1.0))) < SAME


def test_the_plain_model_is_left_alone(model):
    moving = world.moving(model)
    before = world.sample(moving)
    world.sample(motion(spatial(moving, 1.0, drawn(1)), 1.0, drawn(1)))
    assert torch.equal(world.sample(moving), before)


def test_what_a_mask_cannot_do_is_said(model):
    with pytest.raises(UserError, match=r"a mask with mode 'merged'.*cannot be merged"):
        spatial(model, 1.0, drawn(1), mode="merged")
    tiled = HyperTile.execute(model, 32, 1, 0, False)[0]
    with pytest.raises(UserError, match=r"a layer of \d+ x 16 places.*HyperTile"):
        world.sample(spatial(tiled, 1.0, drawn(1), only(ATTENTION)))
    magnitudes = {name: torch.ones(64) for name in world.motion_adapter().pairs}
    dora = Adapter(world.motion_adapter().info, world.motion_adapter().pairs, {}, magnitudes)
    with pytest.raises(UserError, match=r"a DoRA in a mask.*and mask"):
        apply_motion_adapter(world.moving(model), dora, 1.0, "a", drawn(1))


@pytest.mark.parametrize("node", [ApplyMotionAdapter, ApplySpatialAdapter])
def test_a_workflow_without_a_mask_is_as_it_was(node):
    folders.register()  # the nodes list its files
    *others, mask = node.GET_SCHEMA().inputs
    assert (mask.id, mask.optional) == ("mask", True)  # the last one: values are known by place
    assert others[-1].id == "scale_schedule"
