"""Where a subject is put, and what is around it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from still_moving.demo.emoji.pictures import MIDDLE, Emoji, Place, placed, random_place
from still_moving.demo.emoji.subjects import BACKGROUNDS, FRAMES, SIZE, SUBJECTS, TOKENS, Scene
from still_moving.worlds.known import EMOJI

WHOLE = Place(scale=1.0)


@pytest.fixture
def drawing():
    """A red square left of the middle, opaque, on nothing."""
    frames = torch.zeros(1, 4, SIZE, SIZE, dtype=torch.uint8)
    frames[:, 0, 50:70, 30:50] = frames[:, 3, 50:70, 30:50] = 255
    return frames


def centre(picture):
    """(x, y) of what is not background, in pixels."""
    there = (picture[0] - picture[0, 0, 0]).abs() > 0.3
    y, x = there.nonzero().float().mean(0)
    return x, y


def test_a_place_moves_turns_and_scales(drawing):
    def at(**changes):
        return centre(placed(drawing, "navy", replace(WHOLE, **changes))[0])

    middle = (SIZE - 1) / 2
    x, y = at()
    assert (x, y) == (39.5, 59.5)
    assert at(x=6.0, y=-4.0) == (x + 6, y - 4)
    assert at(flipped=True) == (2 * middle - x, y)
    assert at(flipped=True, x=6.0) == (2 * middle - x + 6, y)
    half = at(scale=0.5)
    assert half[0] == pytest.approx(middle + (x - middle) / 2, abs=0.5)


def test_what_is_transparent_shows_the_background_alone(drawing):
    drawing[:, :3, :40] = 77  # colour where nothing shows
    for name, colour in BACKGROUNDS.items():
        picture = placed(drawing, name, MIDDLE)[0]
        assert torch.allclose(picture[:, 5, 5], torch.tensor(colour), atol=1e-6)
        assert 0 <= picture.min() <= picture.max() <= 1


def test_random_places_stay_on_the_picture(drawing):
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        place = random_place(generator)
        edge = placed(torch.full_like(drawing, 255), "navy", place)[0]
        assert torch.allclose(edge[:, 0, 0], torch.tensor(BACKGROUNDS["navy"]), atol=1e-5)


def test_a_folder_gives_stills_and_clips(tmp_path, drawing):
    drawing[:, 3, 49, 30:50] = 128  # a soft edge; of hard ones alone, Pillow makes an opaque clip
    red = Image.fromarray(np.asarray(drawing[0].permute(1, 2, 0)))
    blue = Image.fromarray(np.asarray(drawing[0, [2, 1, 0, 3]].permute(1, 2, 0)))
    for folder in ("stills/flat", "clips"):
        (tmp_path / folder).mkdir(parents=True)
    red.save(tmp_path / "stills/flat/cat.webp", lossless=True)
    red.save(tmp_path / "clips/cat.webp", lossless=True, save_all=True, append_images=[blue])
    emoji = Emoji(tmp_path)
    still = emoji.still(Scene("cat", "flat", "white"), WHOLE)
    clip = emoji.clip(Scene("cat", "3d", "white"), WHOLE)
    assert torch.equal(clip[0], still)
    assert clip.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(emoji.frame(Scene("cat", "3d", "white"), 3, WHOLE), clip[1])
    assert not torch.equal(clip[0], clip[1])


def test_every_prompt_is_read_whole_and_none_is_another():
    names = (*SUBJECTS, *TOKENS)
    prompts = {Scene(subject, "flat", "sky").prompt for subject in names}
    assert len(prompts) == len(names)
    texts = torch.stack([EMOJI.words.encode(prompt) for prompt in sorted(prompts)])
    apart = torch.cdist(texts.sum(1), texts.sum(1)) + 100 * torch.eye(len(texts))
    assert apart.min() > 4  # a word of 128 signs is about 11 long


def test_the_animations_are_there(shared_data):
    """Every subject in every look, the "3d" one in motion."""
    emoji = Emoji(shared_data / "emoji")
    for subject in (*SUBJECTS, "unicorn", "octopus"):
        clip = emoji.clip(Scene(subject, "3d", "white"))
        assert len(clip) == FRAMES
        assert (clip[1:] - clip[:-1]).abs().mean() > 1e-3
