"""A plan on disk: read as it was written, refused in words where it is damaged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from still_moving.common.errors import UserError
from still_moving.training.sets import plan as plans
from still_moving.training.sets.plan import Host, Plan, Sampling, Words, read_plan, write_plan
from still_moving.training.sets.store import SET_FILE


def plan_in(folder: Path) -> Plan:
    return Plan(
        prompts=("a", "b", "a"), negative="", frames=2, width=64, height=64, seed=2**64 - 4,
        steps=4, cfg=7.5, sampler_name="euler", scheduler="normal", model="/weights/m.safetensors",
        base="shapes", sampling=Sampling("epsilon", 0, False), motion_module="/models/mm.ckpt",
        motion_hash="hash", vae="", vae_dtype="float32", encoder="id", sections=(1, 1),
        host=Host("/ComfyUI", "{}"), pictures=str(folder / "pictures"),
    )  # fmt: skip  # many short values, several a line


def words() -> Words:
    texts = tuple(torch.randn(1, 4, 8).to(torch.float16) for _ in range(3))
    captions = tuple(torch.randn(4, 8) for _ in range(2))
    return Words(texts, (None, torch.zeros(1, 8), None), captions, torch.rand(9), torch.rand(9))


def test_it_is_read_as_it_was_written(tmp_path):
    plan, said = plan_in(tmp_path), words()
    write_plan(tmp_path / "set", plan, said)
    again, read = read_plan(tmp_path / "set")
    assert (again, again.texts, again.kind) == (plan, ["a", "b"], "clips")
    assert read.digest() == said.digest()
    assert read.pooled[0] is read.pooled[2] is None
    assert plan.drawn() == 0
    plan.file(2).touch()
    assert again.drawn() == 1
    assert plans.is_planned(tmp_path / "set")
    (tmp_path / "set" / SET_FILE).touch()
    assert not plans.is_planned(tmp_path / "set")


def test_its_name_is_of_what_is_drawn_and_not_of_where_things_lie(tmp_path):
    plan, said = plan_in(tmp_path), words()
    key = plan.key(said)
    there = {"pictures": "/x", "motion_module": "/y/mm.ckpt", "model": "/z/m.safetensors"}
    assert replace(plan, host=Host("/new", "[]"), **there).key(said) == key
    changes = [{"seed": 1}, {"steps": 5}, {"motion_hash": "x"}, {"model": "/weights/o.safetensors"}]
    keys = [replace(plan, **change).key(said) for change in changes]
    keys.append(plan.key(replace(said, sigmas=said.sigmas + 1)))
    assert len({key, *keys}) == 1 + len(keys)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (plans.PLAN_FILE, b"{"),
        (plans.PLAN_FILE, b'{"prompts": 3}'),
        (plans.PLAN_FILE, None),
        (plans.WORDS_FILE, b"no tensors"),
        (plans.WORDS_FILE, None),
    ],
)
def test_a_damaged_one_is_said(file, content, tmp_path):
    write_plan(tmp_path, plan_in(tmp_path), words())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        read_plan(tmp_path)


def test_words_for_other_prompts_are_said(tmp_path):
    write_plan(tmp_path, replace(plan_in(tmp_path), prompts=("a",)), words())
    with pytest.raises(UserError, match="found 2 texts, expected 1"):
        read_plan(tmp_path)
