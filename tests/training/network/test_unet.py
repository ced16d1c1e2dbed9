"""The network that is built: every key placed, and AnimateDiff's norms instead of diffusers'."""

import math

import pytest
import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor
from torch.nn import functional as F

from helpers.real_size import hollow, motion_shapes, sd15_shapes
from helpers.small import CPU, FRAMES, SIZE, TEXT, TOKENS, motion_module, new_unet, weights
from still_moving.adapters.files import keys
from still_moving.adapters.files.checkpoint import UNetWeights
from still_moving.adapters.files.motion_module import MotionModule, recognize
from still_moving.training.network.unet import (
    AcrossFramesNorm,
    PerFrameNorm,
    _resnet_norms_across_frames,
    build_unet,
    predict,
)


def animatediff(x: Tensor, named: dict[str, Tensor]) -> Tensor:
    """AnimateDiff's temporal transformer, written from its paper and layer names alone.

    x: (frames, channels, height, width), one clip; named: the module's tensors in its own naming.
    """
    frames, channels, height, width = x.shape

    def linear(name: str, y: Tensor) -> Tensor:
        return F.linear(y, named[f"{name}.weight"], named.get(f"{name}.bias"))

    def norm(name: str, y: Tensor) -> Tensor:
        return F.layer_norm(y, (channels,), named[f"{name}.weight"], named[f"{name}.bias"])

    # Per frame: the frames are the batch of this norm.
    y = F.group_norm(x, 32, named["norm.weight"], named["norm.bias"], eps=1e-6)
    y = y.permute(2, 3, 0, 1).reshape(height * width, frames, channels)
    y = linear("proj_in", y)
    for i in (0, 1):
        block = f"transformer_blocks.0.attention_blocks.{i}"
        z = norm(f"transformer_blocks.0.norms.{i}", y)
        z = z + named[f"{block}.pos_encoder.pe"][:, :frames]
        heads = [
            linear(f"{block}.to_{part}", z).unflatten(-1, (8, channels // 8)).transpose(1, 2)
            for part in "qkv"
        ]
        q, k, v = heads
        attention = (q @ k.transpose(-1, -2) / math.sqrt(channels // 8)).softmax(-1)
        mixed = (attention @ v).transpose(1, 2).flatten(2)
        y = y + linear(f"{block}.to_out.0", mixed)
    gated = linear("transformer_blocks.0.ff.net.0.proj", norm("transformer_blocks.0.ff_norm", y))
    value, gate = gated.chunk(2, dim=-1)
    y = y + linear("transformer_blocks.0.ff.net.2", value * F.gelu(gate))
    y = linear("proj_out", y).reshape(height, width, frames, channels).permute(2, 3, 0, 1)
    return x + y


MODULES = [
    "down_blocks.0.motion_modules.0",
    "down_blocks.1.motion_modules.0",
    "mid_block.motion_modules.0",
    "up_blocks.0.motion_modules.1",
    "up_blocks.1.motion_modules.0",
]


@pytest.mark.parametrize("frames", [1, 3, 8])
@pytest.mark.parametrize("place", MODULES)
@torch.no_grad()
def test_motion_modules_compute_what_animatediff_does(place, frames):
    prefix = f"{place}.temporal_transformer."
    named = {
        name.removeprefix(prefix): tensor
        for name, tensor in motion_module().tensors.items()
        if name.startswith(prefix)
    }
    assert len(named) == 28
    generator = torch.Generator().manual_seed(frames)
    # Frames of different size and mean: where a norm over all of them would show.
    x = torch.randn(frames, 64, SIZE, SIZE, generator=generator)
    x = (
        x * torch.linspace(0.5, 3, frames)[:, None, None, None]
        + torch.arange(frames)[:, None, None, None]
    )
    expected = animatediff(x, named)
    unet = new_unet()
    module = unet.get_submodule(place)
    assert isinstance(module, AnimateDiffTransformer3D)
    ours = module(x, num_frames=frames)
    assert relative(ours, expected) < 1e-5
    # diffusers' own norm takes all frames together, which is another network.
    module.norm.__class__ = torch.nn.GroupNorm
    unpatched = relative(module(x, num_frames=frames), expected)
    assert unpatched < 1e-5 if frames == 1 else unpatched > 0.01


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).norm() / expected.norm())


def test_every_motion_modules_norm_is_per_frame():
    modules = [m for m in new_unet().modules() if isinstance(m, AnimateDiffTransformer3D)]
    assert len(modules) == 2 + 1 + 4
    assert all(isinstance(module.norm, PerFrameNorm) for module in modules)


def test_every_tensor_of_both_files_is_in_the_network():
    unet = new_unet()
    state = unet.state_dict()
    for name, tensor in weights().tensors.items():
        assert torch.equal(state.pop(weights().layout.to_diffusers(name)), tensor)
    for name, tensor in motion_module().tensors.items():
        if not name.endswith(".pe"):
            assert torch.equal(state.pop(keys.motion_to_diffusers(name)), tensor)
    assert all(name.endswith("pos_embed.pe") for name in state)
    assert len(state) == 7
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    assert not unet.training


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "AnimateLCM"])
def test_real_layouts_are_built_whole(version):
    from still_moving.adapters.files.keys import SD15

    shapes = motion_shapes(version)
    module = MotionModule(recognize(version, hollow(shapes)), hollow(shapes), "", version)
    unet_weights = UNetWeights(hollow(sd15_shapes()), SD15, "sd15", "", "sd15")
    unet = build_unet(unet_weights, module, torch.float16, torch.device("meta"))
    named = dict(unet.named_parameters())
    positions = {n for n in unet.state_dict() if n.endswith("pos_embed.pe")}
    assert len(unet.state_dict()) - len(positions) == 686 + sum(
        not name.endswith(".pe") for name in shapes
    )
    assert all(not p.requires_grad and p.dtype == torch.float16 for p in named.values())
    assert unet.config["motion_max_seq_length"] == {"v1": 24, "AnimateLCM": 64}.get(version, 32)
    across = [n for n, m in unet.named_modules() if isinstance(m, AcrossFramesNorm)]
    assert len(across) == (2 * 22 + 1 if version == "v1" else 0)


@torch.no_grad()
def test_v1_resnets_normalize_all_frames_together():
    unet = new_unet()
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(FRAMES, 64, SIZE, SIZE, generator=generator)
        + torch.arange(FRAMES)[:, None, None, None]
    )
    _resnet_norms_across_frames(unet)
    norm = unet.get_submodule("down_blocks.0.resnets.0.norm1")
    assert isinstance(norm, torch.nn.GroupNorm)
    together = x.transpose(0, 1).reshape(32, 2 * FRAMES * SIZE * SIZE)  # 2 channels a group
    mean, variance = together.mean(1), together.var(1, unbiased=False)
    expected = (x.unflatten(1, (32, 2)) - mean[:, None, None, None]) / (
        variance[:, None, None, None] + norm.eps
    ).sqrt()
    expected = expected.flatten(1, 2) * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert relative(norm(x), expected) < 1e-5
    assert relative(F.group_norm(x, 32, norm.weight, norm.bias, norm.eps), expected) > 0.01


@pytest.mark.parametrize("across", [False, True])
@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(across):
    unet = new_unet()
    if across:
        _resnet_norms_across_frames(unet)
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(3, 4, FRAMES, SIZE, SIZE, generator=generator)
    noisy *= torch.tensor([1.0, 3.0, 0.3])[:, None, None, None, None]
    text = torch.randn(3, TOKENS, TEXT, generator=generator)
    steps = torch.tensor([10, 500, 990])
    together = predict(unet, noisy, steps, text)
    for i in range(3):
        alone = predict(unet, noisy[i : i + 1], steps[i : i + 1], text[i : i + 1])
        assert relative(together[i : i + 1], alone) < 1e-5


def test_the_network_lives_where_it_is_asked():
    assert {p.device for p in new_unet().parameters()} == {CPU}
    assert {p.dtype for p in new_unet(torch.bfloat16).parameters()} == {torch.bfloat16}
