"""Views and patches of clips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from still_moving.training.recipes.recipe import Source
from still_moving.training.stage.draws import Draw
from still_moving.training.stage.views import patch, seen, view

LATENTS = torch.randn(6, 4, 12, 16, generator=torch.Generator().manual_seed(0))
unit = st.floats(0, 1, exclude_max=True)


@given(unit)
def test_a_frame_stands_by_itself(position):
    one = view(LATENTS, "frame", position, 3)
    assert one.shape == (1, 4, 1, 12, 16)
    assert torch.equal(one[0, :, 0], LATENTS[int(position * 6)])


@given(unit)
def test_backward_is_the_clip_from_last_to_first(position):
    forward, back = (view(LATENTS, kind, position, 3) for kind in ("clip", "backward"))
    assert torch.equal(back.flip(2), forward)


@given(st.floats(0.2, 1), st.tuples(unit, unit, unit))
def test_a_patch_is_a_part_of_its_frame(crop, dice):
    whole = view(LATENTS, "frame", 0.5, 3)
    part = patch(whole, crop, dice)
    height, width = part.shape[-2:]
    if crop == 1:
        assert part is whole
    assert max(2, crop * 12 - 1) <= height <= 12
    assert max(2, crop * 16 - 1) <= width <= 16
    assert any(
        torch.equal(part, whole[..., top : top + height, left : left + width])
        for top in range(13 - height)
        for left in range(17 - width)
    )


def test_patches_of_every_size_come_from_everywhere():
    generator = torch.Generator().manual_seed(0)
    frame = torch.arange(12.0 * 16).reshape(1, 1, 1, 12, 16)
    sizes, corners = set(), set()
    for dice in torch.rand(2000, 3, generator=generator).tolist():
        part = patch(frame, 0.5, tuple(dice))
        sizes.add(tuple(part.shape[-2:]))
        corners.add(part.flatten()[0].item() // 16)
    assert {height for height, _ in sizes} == {6, 8, 10, 12}
    assert {width for _, width in sizes} == {8, 10, 12, 14, 16}
    assert corners == set(range(7))


def test_a_sample_is_seen_with_its_own_patch():
    source = Source("one", "frame", crop=0.5)
    one, other = (
        seen(LATENTS, source, Draw(0, 0, 0.4, 1, 1, dice), 3)
        for dice in ((0.0, 0.0, 0.0), (0.0, 0.9, 0.9))
    )
    assert one.shape == other.shape == (1, 4, 1, 6, 8)
    assert torch.equal(one[0, :, 0], LATENTS[2, :, :6, :8])
    assert not torch.equal(one, other)


@pytest.mark.parametrize("position", [0.0, 0.34, 0.67, 0.999999])
def test_views_show_what_they_are_named_for(position):
    latents = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    frozen = view(latents, "frozen", position, 3)
    assert frozen.shape == (1, 4, 3, 2, 2)
    for frame in range(3):
        assert torch.equal(frozen[0, :, frame], latents[int(position * 6)])
    clip = view(latents, "clip", position, 3)
    start = int(position * 4)
    assert torch.equal(clip[0].transpose(0, 1), latents[start : start + 3])


def test_every_frame_of_a_clip_can_be_frozen_and_every_start_taken():
    latents = torch.arange(5.0)[:, None, None, None].expand(5, 4, 1, 1)
    spots = [i / 100 for i in range(100)]
    assert {view(latents, "frozen", p, 2)[0, 0, 0].item() for p in spots} == {0, 1, 2, 3, 4}
    assert {view(latents, "clip", p, 4)[0, 0, 0].item() for p in spots} == {0, 1}
