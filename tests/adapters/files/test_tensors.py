"""Reading and writing files of tensors: both kinds, no code, and one clear error."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.small_files import listing
from still_moving.adapters.files import tensors as files
from still_moving.common.errors import UserError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def equal(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


def test_safetensors_come_back_with_metadata_and_dtypes(tmp_path):
    files.write_tensors(tmp_path / "a.safetensors", TENSORS, {"kind": "x"})
    tensors, metadata = files.read_tensors(tmp_path / "a.safetensors")
    assert equal(tensors, TENSORS)
    assert metadata == {"kind": "x"}


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
NAMES = TEXT.filter(lambda name: name and name != "__metadata__")
SHAPES = st.lists(st.integers(0, 3), max_size=3)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, SHAPES, min_size=1), st.dictionaries(NAMES, TEXT))
def test_any_names_shapes_and_metadata_come_back(tmp_path_factory, shapes, metadata):
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    files.write_tensors(path, tensors, metadata)
    read, read_metadata = files.read_tensors(path)
    assert equal(read, tensors)
    assert read_metadata == metadata


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("wrap", [dict, lambda t: {"state_dict": t, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_files_are_unwrapped(tmp_path, wrap, prefix, old_format):
    content = wrap({prefix + name: tensor for name, tensor in TENSORS.items()} | {"step": 5})
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not old_format)
    tensors, metadata = files.read_tensors(tmp_path / "a.ckpt")
    assert equal(tensors, TENSORS)
    assert metadata == {}


def test_the_content_and_not_the_name_tells_the_kind(tmp_path):
    files.write_tensors(tmp_path / "a.ckpt", TENSORS, {})
    torch.save(TENSORS, tmp_path / "a.safetensors")
    assert equal(files.read_tensors(tmp_path / "a.ckpt")[0], TENSORS)
    assert equal(files.read_tensors(tmp_path / "a.safetensors")[0], TENSORS)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_the_header_says_what_the_tensors_are(tmp_path, name):
    if name.endswith("pt"):
        torch.save(TENSORS, tmp_path / name)
    else:
        files.write_tensors(tmp_path / name, TENSORS, {})
    header, metadata = files.read_header(tmp_path / name)
    assert header == {"a.weight": ("float32", (2, 3)), "b": ("float16", (2,))}
    assert metadata == {}


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    shared = torch.randn(4, 4)
    files.write_tensors(tmp_path / "a", {"a": shared, "b": shared, "c": shared.T}, {})
    tensors, _ = files.read_tensors(tmp_path / "a")
    assert equal(tensors, {"a": shared, "b": shared, "c": shared.T})


class Bomb:
    """Pickled, it would make a file on loading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_cannot_run_code(tmp_path):
    target = tmp_path / "ran"
    torch.save({"a": torch.ones(1), "b": Bomb(target)}, tmp_path / "new.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps(Bomb(target)))
    for name in ("new.ckpt", "old.ckpt"):
        with pytest.raises(UserError, match=name):
            files.read_tensors(tmp_path / name)
    assert not target.exists()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: p.touch(), "an empty file"),
        (lambda p: p.write_bytes(b"<html>404</html>"), "begins with"),
        (
            lambda p: p.write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8"),
            "begins with",
        ),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(50)), "damaged or truncated"),
        (lambda p: torch.save({"step": 3}, p), "no tensors"),
        (lambda p: torch.save([3, "a"], p), "no tensors"),
    ],
)
def test_what_is_no_tensor_file_is_refused_in_one_line(tmp_path, make, found):
    path = tmp_path / "some file.safetensors"
    make(path)
    for read in (files.read_tensors, files.read_header):
        with pytest.raises(UserError, match=found) as error:
            read(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_name_that_no_system_has_is_a_user_error():
    with pytest.raises(UserError):
        files.read_tensors("a\0b.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64]
)
@pytest.mark.parametrize("at", [0, 1234, -1])
def test_numbers_that_are_not_finite_are_refused_by_name(value, dtype, at):
    good = torch.linspace(-7, 7, 2000).to(dtype)
    rest = {"good": good, "none": good[:0], "number": good[0], "whole": torch.arange(3)}
    files.refuse_non_finite("a.ckpt", rest)
    bad = good.clone()
    bad[at] = value
    for tensor in (bad, bad.view(40, 50).T):
        with pytest.raises(UserError, match=r"1 of 5 tensors, first 'bad'"):
            files.refuse_non_finite("a.ckpt", {**rest, "bad": tensor})


def test_fp8_is_checked_too():
    bad = torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)
    with pytest.raises(UserError):
        files.refuse_non_finite("a.ckpt", {"bad": bad})


def test_a_write_that_fails_names_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "missing" / "a.safetensors"
    with pytest.raises(UserError, match="cannot be written"):
        files.write_tensors(path, TENSORS, {})
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        files.write_tensors(tmp_path / "taken", TENSORS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_hash_is_sha256_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 40000
    (tmp_path / "a").write_bytes(data)
    assert files.file_hash(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    assert listing(tmp_path) == {"a": data}
    with pytest.raises(UserError, match="no such file"):
        files.file_hash(tmp_path / "b")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_a_written_file_may_be_read_as_any_new_file_may(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    files.write_tensors(tmp_path / "a.safetensors", TENSORS, {})
    assert (tmp_path / "a.safetensors").stat().st_mode == plain.stat().st_mode
