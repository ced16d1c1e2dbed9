"""Merged motion modules: a mean rounded once, in any order, and a file that says what it is."""

import json
from itertools import permutations

import pytest
import torch

from helpers.small_files import MODULE_SHAPES, random_tensors
from still_moving.adapters.files.motion_merge import read_merged, refuse_unlike
from still_moving.adapters.files.motion_module import SD15, MotionModuleInfo, read_motion_module
from still_moving.adapters.files.motion_parts import (
    MERGED,
    Part,
    hash_of,
    merged_parts,
    name_of,
    to_metadata,
)
from still_moving.adapters.files.tensors import file_hash, write_tensors
from still_moving.common.errors import UserError

PE = next(name for name in MODULE_SHAPES if name.endswith(".pe"))
WEIGHT = next(name for name in MODULE_SHAPES if name.endswith(".to_q.weight"))
INFOS = (
    MotionModuleInfo("v1", SD15, False, 24, True),
    MotionModuleInfo("v2", SD15, True, 32, False),
    MotionModuleInfo("v3", SD15, False, 32, False),
    MotionModuleInfo("AnimateLCM", SD15, True, 64, False),
    MotionModuleInfo("shapes", (64, 64), True, 8, False),
    MotionModuleInfo("shapes", (64, 64), True, 16, False),
)


def written(folder, name: str, seed: int, dtype=torch.float32, learned: bool = False):
    """The parts of a new file. learned: its positions are no sinusoids."""
    tensors = random_tensors(MODULE_SHAPES, seed)
    if learned:
        tensors = {n: t + 0.3 if n.endswith(".pe") else t for n, t in tensors.items()}
    path = folder / f"{name}.safetensors"
    write_tensors(path, {n: t.to(dtype) for n, t in tensors.items()}, {})
    return (Part(path, file_hash(path), path.name),)


@pytest.fixture
def three(tmp_path):
    return [written(tmp_path, name, seed) for seed, name in enumerate("abc")]


def equal(one, other) -> bool:
    assert one.keys() == other.keys()
    return all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def test_every_weight_is_the_mean_by_the_ratio(three):
    first, second = three[:2]
    a, b = (read_motion_module(parts[0].path) for parts in (first, second))
    mean = read_merged(merged_parts(first, second, 0.25))
    assert mean.info == a.info
    assert mean.tensors.keys() == a.tensors.keys()
    for name, tensor in mean.tensors.items():
        expected = 0.25 * a.tensors[name] + 0.75 * b.tensors[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-6)
    assert not torch.equal(mean.tensors[WEIGHT], a.tensors[WEIGHT])


def test_at_an_end_and_of_one_with_itself_it_is_that_one(three):
    first, second = three[:2]
    half = merged_parts(first, second, 0.5)
    for module in (first, half):
        assert merged_parts(module, second, 1.0) == module
        assert merged_parts(second, module, 0.0) == module
        for ratio in (0.0, 0.3, 1.0):
            assert hash_of(merged_parts(module, module, ratio)) == hash_of(module)


def test_however_three_are_merged_it_is_the_same_module(three):
    thirds = []
    for a, b, c in permutations(three):
        thirds.append(merged_parts(merged_parts(a, b, 0.5), c, 2 / 3))
        thirds.append(merged_parts(a, merged_parts(b, c, 0.5), 1 / 3))
    assert len({hash_of(parts) for parts in thirds}) == 1
    modules = [read_merged(parts) for parts in (thirds[0], thirds[-1])]
    assert equal(modules[0].tensors, modules[1].tensors)
    assert name_of(thirds[0]) == "0.333 a.safetensors + 0.333 b.safetensors + 0.333 c.safetensors"
    other = merged_parts(merged_parts(three[0], three[1], 0.5), three[2], 0.66)
    assert hash_of(other) != hash_of(thirds[0])


FP32, FP16, BF16, FP8 = torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (FP16, FP32, FP32),
        (FP16, FP16, FP16),
        (BF16, BF16, BF16),
        (BF16, FP16, FP32),
        (FP8, FP8, FP16),
        (BF16, FP8, FP32),
    ],
)
def test_the_finer_precision_wins_and_is_rounded_to_once(tmp_path, first, second, result):
    a, b = written(tmp_path, "a", 1, first), written(tmp_path, "b", 2, second)
    mean = read_merged(merged_parts(a, b, 0.7))
    one, other = (read_motion_module(parts[0].path).tensors[WEIGHT].float() for parts in (a, b))
    assert mean.tensors[WEIGHT].dtype == result
    share = round(1.0 - 0.7, 9)
    expected = [one * 0.7 + other * share, other * share + one * 0.7]
    assert any(torch.equal(mean.tensors[WEIGHT], sum_.to(result)) for sum_ in expected)
    assert not mean.info.own_positions  # also where 8 bits round the tables coarsely


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("dtype", [FP32, FP16])
def test_what_another_process_reads_is_the_module_itself(tmp_path, dtype, learned):
    a, b = written(tmp_path, "a", 1, dtype, learned), written(tmp_path, "b", 2, dtype)
    parts = merged_parts(a, b, 0.4)
    module, path = read_merged(parts), tmp_path / "merged.safetensors"
    write_tensors(path, module.tensors, to_metadata(parts))
    again = read_motion_module(path)
    assert equal(again.tensors, module.tensors)
    assert module.info.own_positions == learned
    assert (again.info, again.hash, again.name) == (module.info, module.hash, module.name)
    assert again.name == "0.4 a.safetensors + 0.6 b.safetensors"
    assert again.content == file_hash(path) != again.hash


def test_learned_positions_are_merged_too(tmp_path):
    a, b = written(tmp_path, "a", 1, learned=True), written(tmp_path, "b", 2)
    table = read_merged(merged_parts(a, b, 0.5)).tensors[PE]
    assert torch.allclose(table, random_tensors(MODULE_SHAPES)[PE] + 0.15, atol=1e-5)


def test_a_file_without_positions_gets_those_of_its_kind(tmp_path):
    bare = {n: t for n, t in random_tensors(MODULE_SHAPES, 3).items() if not n.endswith(".pe")}
    write_tensors(tmp_path / "bare.safetensors", bare, {})
    path = tmp_path / "bare.safetensors"
    frames = read_motion_module(path).info.max_frames
    whole = bare | {n: torch.zeros(1, frames, 64) for n in MODULE_SHAPES if n.endswith(".pe")}
    write_tensors(tmp_path / "whole.safetensors", whole, {})
    other = tmp_path / "whole.safetensors"
    bare_parts, parts = ((Part(p, file_hash(p), p.name),) for p in (path, other))
    mean = read_merged(merged_parts(bare_parts, parts, 0.25))
    sine = random_tensors({PE: (1, frames, 64)})[PE]
    assert torch.allclose(mean.tensors[PE], 0.25 * sine, atol=1e-5)
    assert mean.tensors.keys() == MODULE_SHAPES.keys()


@pytest.mark.parametrize("info", INFOS, ids=lambda info: f"{info.version}-{info.max_frames}")
def test_modules_of_two_kinds_are_refused_by_name(info):
    refuse_unlike(info, "a.ckpt", info, "b.ckpt")
    for other in INFOS:
        if other == info:
            continue
        with pytest.raises(UserError) as refused:
            refuse_unlike(info, "a.ckpt", other, "b.ckpt")
        text = str(refused.value)
        kind = "of the shapes world" if other.version == "shapes" else other.version
        assert text.startswith("b.ckpt: found ")
        assert f"{kind} with {other.max_frames} frames, expected what a.ckpt is" in text
        assert f"with {info.max_frames} frames), because" in text


@pytest.mark.parametrize(("frames", "across"), [(16, True), (24, False)])
def test_what_only_its_trainers_settings_tell_is_not_merged(frames, across):
    """A merged file has no config.yaml, and would be another module to who reads it."""
    info = MotionModuleInfo("v1" if across else "v3", SD15, False, frames, across)
    with pytest.raises(UserError, match=r"a\.ckpt: found .*config\.yaml says"):
        refuse_unlike(info, "a.ckpt", info, "b.ckpt")


def test_a_file_that_was_exchanged_is_not_merged_under_the_old_name(tmp_path, three):
    parts = merged_parts(three[0], three[1], 0.5)
    written(tmp_path, "b", 7)
    with pytest.raises(UserError, match=r"b\.safetensors: found another file than when"):
        read_merged(parts)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "3",
        "[]",
        "[[1, 2]]",
        '[["a", "b", 1.0]]',
        '[["a", "b", 0.5], ["c", "d", "half"]]',
        '[["a", "b", 0.5], ["c", "d", NaN]]',
        '[["a", "b", 0.5], ["c", "d", 1e999]]',
    ],
)
def test_a_damaged_note_is_no_note(tmp_path, note):
    path = tmp_path / "it.safetensors"
    write_tensors(path, random_tensors(MODULE_SHAPES), {MERGED: note})
    module = read_motion_module(path)
    assert (module.hash, module.name) == (file_hash(path), "it.safetensors")


def test_the_note_is_the_parts(three):
    parts = merged_parts(three[0], three[1], 0.1)
    rows = json.loads(to_metadata(parts)[MERGED])
    assert rows == [[part.hash, part.name, part.share] for part in parts]
