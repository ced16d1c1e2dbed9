"""Windows over a long clip change nothing for a model that sees each frame alone."""

import copy
from itertools import pairwise

import comfy.model_management
import comfy.sample
import comfy.supported_models
import pytest
import torch
from comfy.controlnet import ControlNet, T2IAdapter
from comfy.patcher_extension import WrappersMP
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.host.tiny_unet import TEXT, UNET
from still_moving.adapters.host import companions
from still_moving.adapters.host.windows import FrameWindows, apply_windows
from still_moving.adapters.window_plans import SCHEDULES
from still_moving.common.errors import UserError
from still_moving.nodes.apply.windows import ContextWindows

pytestmark = pytest.mark.every_comfyui

SIDE, STEPS = 4, 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = comfy.supported_models.SD15(dict(UNET)).get_model({}, "")
    for weight in network.diffusion_model.parameters():
        nn.init.normal_(weight, std=0.1)
    cpu = torch.device("cpu")
    return companions.patcher_class()(network, load_device=cpu, offload_device=cpu)


class HintNetwork(nn.Module):
    """A ControlNet whose residual is its hint's brightness; remembers how many hints it saw."""

    dtype = torch.float32
    unshuffle_amount = 8  # what a T2IAdapter asks for

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches: list[int] = []

    def forward(self, x: Tensor, hint: Tensor | None = None, **_) -> dict[str, list[Tensor]]:
        batch = x.shape[0]
        self.batches.append(batch)
        level = (x if hint is None else hint).mean((1, 2, 3)).view(-1, 1, 1, 1)
        return {"middle": [self.weight * level.expand(batch, 64, SIDE // 2, SIDE // 2)]}


class RecordingNetwork(HintNetwork):
    """Also remembers the brightness of each hint, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[list[float]] = []

    def forward(self, x: Tensor, hint: Tensor | None = None, **_) -> dict[str, list[Tensor]]:
        assert hint is not None
        self.levels.append([round(v) for v in hint.mean((1, 2, 3)).tolist()])
        return {"middle": []}


def hints(count: int) -> Tensor:
    """Hint i is a picture of brightness i."""
    return torch.arange(count).float().view(-1, 1, 1, 1).expand(count, 3, SIDE * 8, SIDE * 8)


def control(count: int, network: nn.Module | None = None, previous=None) -> ControlNet:
    control = ControlNet(network or HintNetwork(), load_device=torch.device("cpu"))
    control.set_previous_controlnet(previous)
    return control.set_cond_hint(hints(count), 0.1)


def adapter(count: int) -> T2IAdapter:
    control = T2IAdapter(HintNetwork(), 3, 8, "nearest-exact", torch.device("cpu"))
    return control.set_cond_hint(hints(count), 0.1)


def prompt(seed: int, entries: int = 1, **extra) -> list:
    text = torch.randn(entries, 3, TEXT, generator=torch.Generator().manual_seed(seed))
    return [text, extra]


def sample(model, frames: int, positive: list, negative: list, cfg: float = 3.0) -> Tensor:
    noise = torch.randn(frames, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model, noise, STEPS, cfg, "euler", "normal", [positive], [negative], noise * 0, seed=1
    )


def close(actual: Tensor, expected: Tensor) -> None:
    # Kernels round differently for other batch sizes; a wrong frame or hint is off by 0.05 and up.
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def both(model, frames: int, length: int, positive: list, negative: list, overlap: int = 1):
    """Samples of the plain model and of the same model in windows."""
    windowed = apply_windows(model, length, overlap, "uniform")
    return (
        sample(model, frames, copy.copy(positive), copy.copy(negative)),
        sample(windowed, frames, copy.copy(positive), copy.copy(negative)),
    )


@given(frames=st.integers(1, 90), length=st.integers(2, 32), data=st.data())
def test_windows_cover_every_frame_and_share_the_overlap(frames, length, data):
    overlap = data.draw(st.integers(0, length - 1))
    for name, plan in SCHEDULES.items():
        windows = plan(frames, length, overlap)
        assert {i for w in windows for i in w} == set(range(frames))
        assert all(len(w) == len(set(w)) == min(length, frames) for w in windows)
        pairs = list(pairwise(windows))
        if name == "looped" and len(windows) > 1:
            pairs.append((windows[-1], windows[0]))
        assert all(len(set(a) & set(b)) >= overlap for a, b in pairs)


@given(frames=st.integers(4, 40), length=st.integers(2, 16), data=st.data())
def test_a_constant_prediction_stays_constant(frames, length, data):
    overlap = data.draw(st.integers(0, length - 1))
    schedule = data.draw(st.sampled_from(list(SCHEDULES)))
    options = {"transformer_options": {}}

    def constant(model, conds, x, timestep, options):
        return [torch.full_like(x, 1.7 + i) for i, _ in enumerate(conds)]

    handler = FrameWindows(length, overlap, schedule)
    x, t = torch.randn(frames, 4, 2, 2), torch.ones(frames)
    for i, blended in enumerate(handler.execute(constant, None, [[], None], x, t, options)):
        torch.testing.assert_close(blended, torch.full_like(x, 1.7 + i))
    assert options == {"transformer_options": {}}


@pytest.mark.parametrize("length", [5, 6, 16])
def test_one_window_over_the_clip_equals_no_windows_bit_for_bit(model, length):
    plain, windowed = both(model, 5, length, prompt(1), prompt(2))
    assert torch.equal(plain, windowed)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize(("length", "overlap"), [(4, 1), (3, 2), (2, 0)])
def test_frames_on_their_own_are_the_same_in_windows(model, schedule, length, overlap):
    windowed = apply_windows(model, length, overlap, schedule)
    plain = sample(model, 7, prompt(1), prompt(2))
    close(sample(windowed, 7, prompt(1), prompt(2)), plain)


@pytest.mark.parametrize("count", [8, 1, 3, 12])
@pytest.mark.parametrize("length", [4, 3])  # 4: two windows' worth of frames is the clip
def test_controls_see_the_hints_of_their_frames(model, count, length):
    chain = control(count, previous=control(8, previous=adapter(count)))
    conds = (prompt(1, control=chain), prompt(2, control=chain))
    plain, windowed = both(model, 8, length, *conds)
    close(windowed, plain)
    bare = sample(model, 8, prompt(1), prompt(2))
    assert (plain - bare).abs().max() > 0.05  # the controls do steer


def test_a_window_asks_for_its_own_hints_for_both_prompts_at_once(model):
    network = RecordingNetwork()
    steering = control(8, network)
    windowed = apply_windows(model, 4, 0, "uniform")
    sample(windowed, 8, prompt(1, control=steering), prompt(2, control=steering))
    step = [[0, 1, 2, 3] * 2, [4, 5, 6, 7] * 2]
    assert network.levels == step * STEPS


def test_hints_are_encoded_once_per_window_and_let_go_after(model):
    steering = adapter(8)
    windowed = apply_windows(model, 4, 0, "uniform")
    for runs in (1, 2):
        sample(windowed, 8, prompt(1, control=steering), prompt(2, control=steering))
        assert len(steering.t2i_model.batches) == 2 * runs
    assert not windowed.model_options["context_handler"]._controls
    assert steering.cond_hint is None


def test_conditions_with_an_entry_per_frame_are_cut_with_the_clip(model):
    mask = torch.rand(8, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    for positive in (
        prompt(1, entries=8),
        prompt(1, entries=3),
        prompt(1, mask=mask, mask_strength=0.7),
        prompt(1, mask=mask[:1]),
        prompt(1, mask=mask[:4]),
        prompt(1, area=(2, 4, 1, 0), strength=0.5),
    ):
        plain, windowed = both(model, 8, 3, positive, prompt(2))
        close(windowed, plain)


def test_inpainting_masks_stay_with_their_frames(model):
    noise = torch.randn(6, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    mask = torch.rand(6, 1, SIDE, SIDE).round()

    def inpaint(patcher):
        cond, uncond = [prompt(1)], [prompt(2)]
        args = (noise, STEPS, 2.0, "euler", "normal", cond, uncond, noise.flip(0))
        return comfy.sample.sample(patcher, *args, noise_mask=mask, seed=1)

    close(inpaint(apply_windows(model, 4, 2, "looped")), inpaint(model))


def test_memory_is_reserved_for_one_window(model):
    reserved = []

    def record(executor, patcher, noise_shape, *args, **named):
        reserved.append(list(noise_shape))
        return executor(patcher, noise_shape, *args, **named)

    windowed = apply_windows(model, 4, 1, "uniform")
    windowed.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "record", record)
    sample(windowed, 9, prompt(1), prompt(2))
    assert reserved == [[4, 4, SIDE, SIDE]]


def test_the_plain_model_is_untouched(model):
    before = sample(model, 6, prompt(1), prompt(2))
    options = copy.copy(model.model_options)
    windowed = apply_windows(model, 4, 2, "uniform")
    sample(windowed, 6, prompt(1), prompt(2))
    assert model.model_options == options
    assert not any(model.wrappers.values())
    assert torch.equal(sample(model, 6, prompt(1), prompt(2)), before)


def test_applying_again_replaces_the_windows(model):
    twice = apply_windows(apply_windows(model, 4, 1, "uniform"), 6, 2, "looped")
    handler = twice.clone().model_options["context_handler"]
    assert (handler.context_length, handler.context_overlap) == (6, 2)
    assert len(twice.get_wrappers(WrappersMP.OUTER_SAMPLE, "still_moving_windows")) == 1


def test_a_clone_does_not_copy_the_networks_in_use(model):
    windowed = apply_windows(model, 4, 1, "uniform")
    handler = windowed.model_options["context_handler"]
    handler.get_resized_cond([{"control": control(8)}], torch.zeros(8), handler.windows(8)[0])
    assert handler._controls
    assert not copy.deepcopy(handler)._controls


def test_an_overlap_that_cannot_advance_is_refused_in_one_line(model):
    with pytest.raises(UserError, match=r"overlap of 4 frames.*less than the length, 4"):
        apply_windows(model, 4, 4, "uniform")


def test_the_node_gives_a_windowed_model(model):
    schema = ContextWindows.GET_SCHEMA()
    assert [i.id for i in schema.inputs] == ["model", "length", "overlap", "schedule"]
    windowed = ContextWindows.execute(model, 4, 1, "uniform").args[0]
    assert windowed.model_options["context_handler"].context_length == 4
