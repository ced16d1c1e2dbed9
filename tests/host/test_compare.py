"""Compare Clips as ComfyUI runs it."""

import pytest
import torch
from PIL import Image

from still_moving.common.errors import UserError
from still_moving.nodes.clips.compare import GAP, LAYOUTS, CompareClips, compare


def clip(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, height, width, 3, generator=generator)


@pytest.mark.parametrize("layout", ["side by side", "stacked"])
def test_frame_i_shows_frame_i_of_each(layout):
    clips = [clip(4, seed=i) for i in range(3)]
    shown = compare(clips, layout)
    height, width = clips[0].shape[1:3]
    for i, each in enumerate(clips):
        x, y = (i * (width + GAP), 0) if layout == "side by side" else (0, i * (height + GAP))
        assert torch.equal(shown[:, y : y + height, x : x + width], each)


def test_a_shorter_one_holds_its_last_frame_and_another_size_is_fitted():
    long, short = clip(5), clip(2, 8, 12, seed=1)
    shown = compare([long, short], "side by side")
    assert shown.shape == (5, 16, 24 + GAP + 24, 3)
    after = shown[:, :, 24 + GAP :]
    assert torch.equal(after[1], after[4])
    assert not torch.equal(after[0], after[1])
    flat = torch.full((2, 8, 12, 3), 0.25)
    assert compare([long, flat], "side by side")[:, :, 24 + GAP :].allclose(torch.tensor(0.25))


def test_a_wipe_shows_each_pixel_of_one_of_them_and_all_of_both_in_a_clip():
    dark, bright = torch.zeros(9, 16, 24, 3), torch.full((9, 16, 24, 3), 0.5)
    shown = compare([dark, bright], "wipe")
    edge = shown == 1.0
    assert (edge.all(-1).any(1).sum(1) <= 1).all()  # one column
    assert ((shown == 0) | (shown == 0.5) | edge).all()
    assert (shown[0] == 0).all()  # the edge begins at the right: only the first clip
    share = (shown == 0).float().mean((1, 2, 3))
    assert share.min() < 0.1
    assert share.max() == 1


def test_words_stand_above_the_pictures_and_change_none():
    clips = [clip(3), clip(3, seed=1)]
    bare = compare(clips, "side by side")
    told = compare(clips, "side by side", ["before", ""])
    band = told.shape[1] - bare.shape[1]
    assert band > 0
    assert torch.equal(told[:, band:], bare)
    assert (told[:, :band, :24] < 0.5).any()  # a word
    assert (told[:, :band, 24 + GAP :] == 1).all()  # none


def test_three_cannot_be_wiped():
    with pytest.raises(UserError, match="Disconnect other"):
        compare([clip(2)] * 3, "wipe")


@pytest.mark.every_comfyui
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_node_gives_the_clip_and_plays_it(layout):
    output = CompareClips.execute(clip(4), clip(4, seed=1), layout, "a, b", 8.0)
    (shown,) = output.args
    assert output.ui is not None
    data = output.ui.as_dict()
    assert data["animated"] == (True,)
    (file,) = data["images"]
    folder_paths = __import__("folder_paths")
    with Image.open(f"{folder_paths.get_temp_directory()}/{file['filename']}") as picture:
        assert picture.n_frames == 4
        assert picture.size == (shown.shape[2], shown.shape[1])
