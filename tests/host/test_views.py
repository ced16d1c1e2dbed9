"""Views: temporal attention in parts of a clip, everything else as if there were none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.host import world
from helpers.host.recorded import asked
from still_moving.adapters.frame_scales import parse_key_frames
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import motion_patcher
from still_moving.adapters.host.views import ViewPlan, planned
from still_moving.adapters.host.windows import apply_windows
from still_moving.adapters.window_plans import SCHEDULES
from still_moving.common.errors import UserError
from still_moving.nodes.apply.windows import MotionViews

pytestmark = pytest.mark.every_comfyui

SAME = 1e-5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return world.moving()


def viewed(model, length=4, overlap=1, schedule="uniform"):
    return MotionViews.execute(model, length, overlap, schedule).args[0]


@given(frames=st.integers(3, 90), length=st.integers(2, 32), data=st.data())
def test_what_all_views_say_alike_is_so(frames, length, data):
    plan = ViewPlan(
        length, data.draw(st.integers(0, length - 1)), data.draw(st.sampled_from(list(SCHEDULES)))
    )
    x = torch.randn(2, frames, 3)
    if frames > length:
        views = planned(plan, frames, CPU)
        assert views.cut(x).shape == (2 * len(views.picks), length, 3)
        torch.testing.assert_close(views.joined(views.cut(x)), x)


@pytest.mark.parametrize("length", [4, 16])
def test_a_clip_in_one_view_is_as_without_bit_for_bit(model, length):
    assert torch.equal(world.sample(viewed(model, length)), world.sample(model))


def test_views_without_overlap_are_clips_of_their_own(model):
    """The image layers see each frame alone, so that nothing else joins the halves."""
    noise = torch.randn(8, 4, world.SIZE, world.SIZE, generator=torch.Generator().manual_seed(1))
    whole = world.sample(viewed(model, 4, 0), noise=noise)
    halves = [world.sample(model, noise=part) for part in noise.split(4)]
    assert world.difference(whole, torch.cat(halves)) < SAME
    assert world.difference(world.sample(model, noise=noise), whole) > 0.01


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_frames_are_the_weighted_mean_of_what_their_views_say(model, schedule):
    patcher = motion_patcher(model)
    assert patcher is not None
    transformer = next(iter(patcher.model.transformers().values()))
    block, frames, channels = transformer.transformer_blocks[0], 7, transformer.channels
    x = torch.randn(3, frames, channels, generator=torch.Generator().manual_seed(2))
    table = torch.randn(4, channels, generator=torch.Generator().manual_seed(3))
    total, sums = torch.zeros(frames, 1), torch.zeros_like(x)
    for window in SCHEDULES[schedule](frames, 4, 1):
        seen = x[:, window]
        for attention, norm in zip(block.attention_blocks, block.norms, strict=True):
            seen = seen + attention(norm(seen), table)
        weights = torch.tensor([1.0, 2.0, 2.0, 1.0])[:, None]
        sums[:, window] += weights * seen
        total[window] += weights
    mean = sums / total
    views = planned(ViewPlan(4, 1, schedule), frames, CPU)
    expected = mean + block.ff(block.ff_norm(mean))
    assert world.difference(block(x, (table, table), views), expected) < SAME


def test_a_clip_may_be_longer_than_the_motion_modules_limit(model):
    assert world.sample(viewed(model, 16, 4), 33, steps=1).isfinite().all()
    with pytest.raises(UserError, match="Context Windows or Motion Views"):
        world.sample(model, 33, steps=1)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("scale", [parse_key_frames("0: 1\n2: 0", "step"), 1.0])
def test_every_frame_has_its_scale_and_its_mask_in_every_view(model, scale, with_mask):
    mask = None
    if with_mask:
        mask = torch.zeros(1, 16, 16)
        mask[:, :5] = 1
    views = viewed(model, 4, 1, "looped")

    def adapted(scale, mask=None) -> Tensor:
        made, _ = apply_motion_adapter(views, world.motion_adapter(), scale, "a", mask)
        (queries,) = asked(made, 7)
        return queries.view(2, world.SIZE**2, -1, *queries.shape[1:])  # clips, places, views

    mixed, on, off = adapted(scale, mask), adapted(1.0), adapted(0.0)
    picks = torch.tensor(SCHEDULES["looped"](7, 4, 1))
    amount = torch.ones(7) if scale == 1.0 else (torch.arange(7) < 2).float()
    amount = amount[picks][None, None, ..., None]
    if mask is not None:
        amount = amount * mask.flatten().view(1, -1, 1, 1, 1)
    assert world.difference(on, off) > 0.01
    assert world.difference(mixed, off + amount * (on - off)) < SAME


def test_layers_beside_the_attentions_see_the_whole_clip(model):
    """Of a motion LoRA on every layer, with another scale in each frame."""
    adapter = world.motion_adapter()
    pairs = {
        layer.replace("attention_blocks.0.to_q", "ff.net.2"): pair
        for layer, pair in adapter.pairs.items()
        if layer.endswith("attention_blocks.0.to_q")
    }
    wide = {layer: world.wide_pair(i) for i, layer in enumerate(pairs)}
    other = type(adapter)(adapter.info, wide)
    views = viewed(model, 4, 1)
    slider = world.sample(apply_motion_adapter(views, other, 1.0, "a")[0], 7)
    beyond = parse_key_frames("0: 1\n90: 0", "step")
    by_frame = world.sample(apply_motion_adapter(views, other, beyond, "a")[0], 7)
    assert world.difference(world.sample(views, 7), slider) > 1e-3
    assert world.difference(by_frame, slider) < SAME


def test_windows_may_be_cut_into_views(model):
    expected = world.sample(apply_windows(model, 6, 1, "uniform"), 10)
    wide = world.sample(viewed(apply_windows(model, 6, 1, "uniform"), 6, 1), 10)
    assert torch.equal(wide, expected)
    both = [
        world.sample(viewed(apply_windows(model, 6, 1, "uniform"), 4, 1), 10),
        world.sample(apply_windows(viewed(model, 4, 1), 6, 1, "uniform"), 10),
    ]
    assert torch.equal(*both)
    assert world.difference(both[0], expected) > 1e-3


def test_the_plain_model_is_left_alone(model):
    before = world.sample(model, 7)
    world.sample(viewed(model), 7)
    assert torch.equal(world.sample(model, 7), before)


def test_what_cannot_be_is_said(model):
    with pytest.raises(UserError, match=r"overlap of 4 frames.*less than the length"):
        viewed(model, 4, 4)
    with pytest.raises(UserError, match=r"length of 33 frames.*32 or fewer"):
        viewed(model, 33, 4)
    with pytest.raises(UserError, match=r"Apply Motion Module before Motion Views"):
        viewed(world.plain())
