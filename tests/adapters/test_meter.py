"""The meter against clips whose motion is known."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from still_moving.adapters.meter import measure_motion
from still_moving.demo.world import Scene, render
from still_moving.worlds.shapes.latents import enlarge

SIDE, FRAMES = 64, 4
CANVAS = 2 * SIDE  # wraps around; clips are cut from its middle, so content enters and leaves
speeds = st.floats(-5, 5)


def moving(x: float, y: float, seed: int = 0, coarse: float = 0.1, frames: int = FRAMES) -> Tensor:
    """A random picture that moves by exactly (x, y) pixels a frame; (frames, h, w, 3) in 0..1.

    coarse: its finest detail, in cycles per pixel.
    """
    noise = torch.randn(3, CANVAS, CANVAS, generator=torch.Generator().manual_seed(seed))
    cycles = torch.fft.fftfreq(CANVAS)
    radius = (cycles.view(-1, 1).square() + cycles.square()).sqrt()
    spectrum = torch.fft.fft2(noise) * torch.exp(-((radius / coarse) ** 2))
    phase = cycles.view(-1, 1) * y + cycles * x
    steps = torch.arange(frames).view(-1, 1, 1, 1)
    clip = torch.fft.ifft2(spectrum * torch.exp(-2j * math.pi * phase * steps)).real
    clip = clip[..., SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2].movedim(1, -1)
    return (clip - clip.min()) / (clip.max() - clip.min())


def noise(scale: float, cell: int = 1, frames: int = FRAMES) -> Tensor:
    """Independent grain in each frame, in cells of so many pixels."""
    size = (frames, 3, SIDE // cell, SIDE // cell)
    grain = torch.randn(size, generator=torch.Generator().manual_seed(9)) * scale
    return F.interpolate(grain, (SIDE, SIDE), mode="bilinear").movedim(1, -1)


@settings(max_examples=25, deadline=None)
@given(x=speeds, y=speeds, seed=st.integers(0, 99), coarse=st.sampled_from([0.05, 0.1, 0.2]))
def test_a_translated_clip_shows_its_speed(x, y, seed, coarse):
    motion = measure_motion(moving(x, y, seed, coarse))
    assert motion.mean_displacement == pytest.approx(math.hypot(x, y), abs=0.1, rel=0.03)


@given(seed=st.integers(0, 99), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_frozen_clip_is_exactly_still(seed, height, width):
    image = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))
    motion = measure_motion(image.repeat(3, 1, 1, 1))
    assert motion.displacement.tolist() == motion.difference.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("cell", [1, 4, 8])
def test_grain_changes_pixels_but_moves_nothing(cell):
    motion = measure_motion(moving(0, 0) + noise(0.1, cell))
    assert motion.mean_displacement < 0.15
    assert motion.mean_difference > 0.04


@pytest.mark.parametrize("change", ["gain", "offset", "colour"])
def test_flicker_changes_pixels_but_moves_nothing(change):
    level = torch.tensor([0.0, 0.2, 0.1, 0.3]).view(-1, 1, 1, 1)
    tint = torch.tensor([1.0, 0.0, -1.0])
    still = moving(0, 0)
    flickers = {
        "gain": still * (1 - level),
        "offset": still + level,
        "colour": still + level * tint,
    }
    motion = measure_motion(flickers[change])
    assert motion.mean_displacement < 0.01
    assert motion.mean_difference > 0.02


def test_motion_shows_through_grain():
    motion = measure_motion(moving(3, 0) + noise(0.03))
    assert motion.mean_displacement == pytest.approx(3, abs=0.3)


def test_difference_is_the_mean_absolute_change():
    clip = torch.rand(3, 20, 30, 3)
    expected = [float((b - a).abs().mean()) for a, b in ((clip[0], clip[1]), (clip[1], clip[2]))]
    torch.testing.assert_close(measure_motion(clip).difference, torch.tensor(expected))


@pytest.mark.parametrize("prompt", ["red circle left night", "green square down sand"])
@pytest.mark.parametrize("speed", [0.0, 0.5, 1.0, 2.0])  # world pixels of eight image pixels
def test_only_what_moves_counts_not_its_background(prompt, speed):
    scene = Scene(*prompt.split())
    steps = torch.arange(-1.5, 2.0).view(-1, 1)
    pixels = enlarge(render(scene, torch.tensor([8.0, 8.0]) + scene.velocity * speed * steps))
    motion = measure_motion(pixels.movedim(1, -1))
    assert motion.mean_displacement == pytest.approx(8 * speed, rel=0.2)


def test_pixels_are_the_clips_own_whatever_its_size():
    clip = moving(2, 0, coarse=0.05)
    large = F.interpolate(clip.movedim(-1, 1), scale_factor=6, mode="bicubic").movedim(1, -1)
    assert measure_motion(large).mean_displacement == pytest.approx(12, abs=0.6)


def test_long_clips_are_measured_like_short_ones():
    clip = moving(1, 1, frames=20)
    whole = measure_motion(clip).displacement
    assert whole.shape == (19,)
    torch.testing.assert_close(whole[10:12], measure_motion(clip[10:13]).displacement)


def test_one_frame_has_no_motion():
    motion = measure_motion(torch.rand(1, 8, 8, 3))
    assert len(motion.displacement) == 0
    assert motion.mean_displacement == motion.mean_difference == 0.0


def test_a_full_size_clip_takes_seconds():
    began = time.process_time()
    measure_motion(torch.rand(8, 512, 512, 3))
    assert time.process_time() - began < 10
