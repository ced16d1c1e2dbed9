"""The emoji world as ground for the fidelity benchmark, in its smallest."""

import pytest
import torch

from still_moving.benchmarks.fidelity import emoji
from still_moving.benchmarks.fidelity.bench import Bench
from still_moving.benchmarks.fidelity.emoji import EmojiGround, scenes_of
from still_moving.benchmarks.fidelity.methods import NAIVE, OURS, Size
from still_moving.benchmarks.fidelity.summary import summarize
from still_moving.demo.emoji.customize import TAUGHT
from still_moving.demo.emoji.judge import Judge
from still_moving.demo.emoji.subjects import HELD_OUT, SUBJECTS

CPU = torch.device("cpu")


@pytest.fixture
def ground(drafts, folder, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr(emoji, "STEPS", 2)
    ground = EmojiGround(folder, tmp_path / "truth.safetensors", CPU)
    asked = {scene.subject for token in ("sks", "pll") for scene in ground.scenes(token)[:2]}
    ground._judge = Judge(ground.emoji, tmp_path / "few.safetensors", (*asked, "cat"))
    return ground


@pytest.mark.slow
def test_a_method_is_trained_sampled_and_measured_on_it(ground, tmp_path):
    size = Size(
        ("sks", "pll"), (), EmojiGround.full.preset, prompts=2, held_out=1, lengths=(1,),
        seeds=1, batch=1, stills=2, natural=3,
    )  # fmt: skip  # many short values, several a line
    parts = Bench(tmp_path / "out", size, ground, CPU).parts()
    rows = [row for token in size.tokens for row in parts[f"{token}-{NAIVE}"]()]
    rows += parts[f"sks-{OURS}-0"]()
    assert [row["taught"] for row in rows[:2]] == [True, False]
    results = summarize(rows, size, ground)
    looks, others, subjects = results["curves"].values()
    assert looks.keys() == others.keys() == {NAIVE, OURS}
    assert subjects.keys() == {NAIVE}
    assert ground.titles.keys() <= looks[OURS]["1"].keys()


def test_a_look_is_asked_of_what_taught_it_and_of_what_did_not_by_turns():
    for token in ("sks", "zwx"):
        subjects = [scene.subject for scene in scenes_of(token)]
        assert set(subjects[::2]) <= set(TAUGHT)
        assert not set(subjects[1::2]) & set(TAUGHT)
        assert len({*subjects}) == len(subjects) >= 13
    for token in ("pll", "vrk"):
        scenes = scenes_of(token)
        assert {scene.subject for scene in scenes} <= set(HELD_OUT) - set(SUBJECTS)
        assert len(scenes) == len({*scenes}) >= 12
