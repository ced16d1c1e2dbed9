"""The judge of emoji tells subjects, looks and motions apart where the truth is known."""

import pytest
import torch

from still_moving.demo.emoji.judge import Judge, change_map, mean, pixels_per_frame
from still_moving.demo.emoji.pictures import Emoji, random_place
from still_moving.demo.emoji.subjects import LOOKS, Scene

SUBJECTS = ("cat", "cat-face", "penguin")


@pytest.fixture(scope="module")
def judge(shared_data, tmp_path_factory):
    pytest.importorskip("efficientnet_lite_pytorch")
    kept = tmp_path_factory.mktemp("judge") / "truth.safetensors"
    return Judge(Emoji(shared_data / "emoji"), kept, SUBJECTS, ("sky",))


@pytest.mark.slow
def test_the_truth_is_seen_as_what_it_is_at_any_place(judge):
    generator = torch.Generator().manual_seed(0)
    right, wrong = [], []
    for subject in SUBJECTS:
        for number, look in enumerate(LOOKS):
            asked = Scene(subject, look, "sky")
            drawn = judge.emoji.still(asked, random_place(generator))[None]
            right.append(judge.seen(drawn, asked))
            wrong.append(judge.seen(drawn, asked._replace(look=LOOKS[number - 1])))
    assert mean(right, "subject") == mean(right, "look") == 1
    assert mean(wrong, "look") == 0
    assert mean(right, "fidelity") > 0.5 > 0.25 > mean(wrong, "fidelity")


@pytest.mark.slow
def test_a_clip_moves_as_its_own_emoji_and_not_as_others(judge):
    generator = torch.Generator().manual_seed(1)
    for subject in ("cat", "penguin"):
        asked = Scene(subject, "3d", "sky")
        clip = judge.emoji.clip(asked, random_place(generator))
        seen = judge.seen(clip, asked)
        assert seen.likeness == 1
        assert 0.7 < seen.share < 1.4
        assert judge.seen(clip[:1].expand(len(clip), -1, -1, -1), asked).share < 0.05


def test_motion_is_measured_in_pixels_and_by_place():
    picture = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 128, 128), 9, 1, 4)[0]
    fast = torch.stack([picture.roll(2 * n, -1) for n in range(4)])
    slow = torch.stack([picture.roll(n, -1) for n in range(4)])
    assert pixels_per_frame(fast) == pytest.approx(2 * pixels_per_frame(slow), rel=0.15)
    assert float((change_map(fast) * change_map(slow)).sum()) > 0.95
    half = torch.cat([picture[:, :64].expand(4, -1, -1, -1), fast[:, :, 64:]], 2)
    assert float((change_map(half) * change_map(fast)).sum()) < 0.8
