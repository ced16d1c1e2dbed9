"""The shapes world: what it renders is what its measures find."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from still_moving.common.errors import UserError
from still_moving.demo import world
from still_moving.demo.measure import match, measure, straight_line
from still_moving.worlds.shapes import latents

SCENES = world.all_scenes(tuple(world.LOOKS))
SUBJECTS = [scene for subject in world.SUBJECTS for scene in world.customized_scenes(subject)]


@pytest.mark.slow
@given(st.sampled_from(SCENES), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_rendered_clip_measures_as_what_it_is(scene, seed):
    clip = world.make_clip(scene, torch.Generator().manual_seed(seed))
    speed = float((clip.positions[1] - clip.positions[0]).norm())
    measures = measure(clip.frames, scene)
    assert measures.correct
    assert measures.look
    assert abs(measures.motion - speed) < 0.06  # positions are read to a quarter pixel
    assert measures.jitter < 0.2
    assert measures.fidelity > 0.85


@pytest.mark.slow
@given(st.sampled_from(SCENES), st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_frozen_clip_has_no_motion_and_no_direction(scene, seed):
    still = world.make_still(scene, torch.Generator().manual_seed(seed))
    measures = measure(still.expand(world.FRAMES, -1, -1, -1), scene)
    assert measures.motion == 0
    assert measures.frame_difference == 0
    assert not measures.direction
    assert not measures.correct


@pytest.mark.parametrize("word", range(3))
def test_another_colour_shape_or_direction_is_noticed(word):
    scene = world.Scene("red", "circle", "left", "night")
    shown = scene._replace(
        **[{"colour": "blue"}, {"shape": "square"}, {"direction": "up"}][word]  # type: ignore  # one of three fields
    )
    clip = world.make_clip(shown, torch.Generator().manual_seed(1))
    measures = measure(clip.frames, scene)
    assert [measures.colour, measures.shape, measures.direction][word] is False
    assert not measures.correct


def test_fidelity_falls_with_noise_and_is_zero_in_another_look():
    scene = world.Scene("green", "square", "down", "sks")
    generator = torch.Generator().manual_seed(2)
    frames = world.make_clip(scene, generator).frames
    noise = torch.randn(frames.shape, generator=generator)
    values = [measure((frames + s * noise).clamp(0, 1), scene).fidelity for s in (0, 0.05, 0.2)]
    assert values[0] > values[1] > values[2]
    plain = world.make_clip(scene._replace(look="night"), torch.Generator().manual_seed(2)).frames
    measures = measure(plain, scene)
    assert not measures.look
    assert measures.fidelity < 0.1


def test_a_shape_half_off_the_stage_is_found_where_it_is():
    scene = world.Scene("yellow", "circle", "right", "forest")
    frames = world.render(scene, torch.tensor([[0.5, 8.0], [16.25, 3.0]]))
    errors, positions = match(frames, "forest", [world.all_scenes(("forest",)).index(scene)])
    torch.testing.assert_close(positions[:, 0], torch.tensor([[0.5, 8.0], [16.25, 3.0]]))
    assert float(errors.max()) < 1e-6


def test_natural_clips_stay_on_the_stage_and_cover_the_speeds():
    generator = torch.Generator().manual_seed(3)
    clips = [world.make_clip(scene, generator) for scene in SCENES]
    positions = torch.stack([clip.positions for clip in clips])
    assert float(positions.min()) >= world.MARGIN - 1e-4
    assert float(positions.max()) <= world.SIZE - world.MARGIN + 1e-4
    speeds = positions.diff(dim=1).norm(dim=-1)[:, 0]
    low, high = world.SPEED
    assert low <= float(speeds.min()) < low + 0.1
    assert high - 0.1 < float(speeds.max()) <= high


def test_straight_line_reads_velocity_and_distance():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.5], [2.0, 1.0], [3.0, 1.5]])
    velocity, distance = straight_line(path)
    torch.testing.assert_close(velocity, torch.tensor([1.0, 0.5]))
    assert distance < 1e-6


def test_latents_decode_to_the_pixels_they_came_from():
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(latents.decode_world(latents.encode_world(pixels)), pixels)
    images = latents.enlarge(pixels)
    torch.testing.assert_close(latents.decode_image(latents.encode_image(images)), images)


def test_words_are_fixed_signs_and_an_empty_prompt_is_zero():
    rows = latents.encode_prompt("red circle sks")
    assert rows.shape == (latents.TOKENS, latents.TEXT_DIM)
    assert set(rows[:3].flatten().tolist()) == {-1.0, 1.0}
    assert not rows[3:].any()
    assert not latents.encode_prompt("").any()
    assert torch.equal(rows[0], latents.encode_prompt("RED, square")[0])
    with pytest.raises(UserError, match="found 7 words, expected at most 6"):
        latents.encode_prompt("a b c d e f g")


def test_every_scene_reads_back_from_its_prompt():
    scenes = SCENES + SUBJECTS
    assert [world.Scene(*scene.prompt.split()) for scene in scenes] == scenes
    assert len({scene.prompt for scene in scenes}) == len(world.LOOKS) * 48 + 2 * 64


@pytest.mark.slow
@given(st.sampled_from(SUBJECTS), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_subject_measures_as_what_it_is_and_as_nothing_else(scene, seed):
    frames = world.make_clip(scene, torch.Generator().manual_seed(seed)).frames
    measures = measure(frames, scene)
    assert measures.correct
    assert measures.look
    assert measures.frame_accuracy == 1
    assert measures.fidelity > 0.85
    for other in world.SHAPES:
        shown = scene._replace(shape=other)
        frames = world.make_clip(shown, torch.Generator().manual_seed(seed)).frames
        measures = measure(frames, scene)
        assert not measures.shape
        assert measures.frame_accuracy == 0
        assert measures.fidelity < 0.5


def test_footage_is_darker_and_shows_the_same():
    scene = world.Scene("red", "circle", "left", "night")
    clip = world.make_clip(scene, torch.Generator().manual_seed(4))
    bright, filmed = measure(clip.frames, scene), measure(world.footage(clip.frames), scene)
    assert filmed.correct
    assert filmed.motion == pytest.approx(bright.motion, abs=0.06)  # read to a quarter pixel
    assert filmed.fidelity < bright.fidelity - 0.05
