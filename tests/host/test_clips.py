"""Freeze Clip and Motion Meter as ComfyUI runs them."""

import sys

import pytest
import torch

from still_moving.common.errors import UserError
from still_moving.nodes.clips.measure import FreezeClip, MeasureMotion


def clip(frames: int, step: int) -> torch.Tensor:
    """A smooth random picture that wraps around, step pixels a frame to the right."""
    noise = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.fft2(noise)
    keep = torch.fft.fftfreq(64).abs() < 0.15
    picture = (
        torch.fft.ifft2(spectrum * keep * keep.unsqueeze(1)).real.unsqueeze(-1).repeat(1, 1, 3)
    )
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return torch.stack([picture.roll(i * step, 1) for i in range(frames)])


def test_every_frame_of_a_frozen_clip_is_the_first_image():
    images = torch.rand(3, 8, 6, 3)
    (frozen,) = FreezeClip.execute(images, 5).args
    assert frozen.shape == (5, 8, 6, 3)
    assert all(torch.equal(frame, images[0]) for frame in frozen)
    frozen[0] += 1  # frames are independent memory
    assert torch.equal(frozen[1], images[0])


def test_a_frozen_clip_measures_zero():
    (frozen,) = FreezeClip.execute(torch.rand(1, 32, 32, 3), 4).args
    _, motion, report = MeasureMotion.execute(clip_1=frozen).args
    assert motion == 0.0
    assert report.splitlines()[1].split() == ["clip", "1", "4", "0.00", "0.0000"]


def test_the_meter_gives_a_picture_a_number_and_a_table():
    output = MeasureMotion.execute(clip_1=clip(5, 2), clip_4=clip(3, 0), labels="faster,,,  frozen")
    plot, motion, report = output.args
    assert plot.shape == (1, 512, 1024, 3)
    assert 0 <= plot.min() < 0.5 < plot.max() <= 1
    assert motion == pytest.approx(2, abs=0.1)
    header, first, second = report.splitlines()
    assert header.split() == ["clip", "frames", "px/frame", "difference"]
    assert first.startswith("faster ")
    assert second.split()[:3] == ["frozen", "3", "0.00"]
    assert output.ui is not None
    assert len(output.ui.as_dict()["images"]) == 1


def test_labels_that_repeat_stay_apart():
    report = MeasureMotion.execute(clip_1=clip(2, 0), clip_2=clip(2, 1), labels="a, a").args[2]
    assert [line.split("  ")[0] for line in report.splitlines()[1:]] == ["a", "a (2)"]


def test_a_single_frame_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"clip_2: found a single frame"):
        MeasureMotion.execute(clip_1=clip(2, 0), clip_2=clip(1, 0))


def test_drawing_leaves_no_global_state():
    before = "matplotlib.pyplot" in sys.modules
    MeasureMotion.execute(clip_1=clip(2, 1))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_no_input_is_named_like_an_output():
    for node in (FreezeClip, MeasureMotion):
        schema = node.GET_SCHEMA()
        assert not {i.id for i in schema.inputs} & {o.display_name for o in schema.outputs}
