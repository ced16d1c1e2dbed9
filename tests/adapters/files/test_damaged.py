"""Damaged files: a clear UserError or a whole load, never another error, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.small_files import (
    MODULE_SHAPES,
    PREFIX,
    UNET_SHAPES,
    error_of,
    listing,
    motion_adapter,
    random_tensors,
    spatial_adapter,
)
from helpers.under_wine import UNDER_WINE
from still_moving.adapters.files.adapter import load_adapter, save_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.common.errors import UserError

LOADERS = {
    "motion.safetensors": load_adapter,
    "spatial.safetensors": load_adapter,
    "lora.ckpt": load_adapter,
    "module.safetensors": read_motion_module,
    "module.ckpt": read_motion_module,
    "unet.safetensors": read_unet,
}
KINDS = pytest.mark.parametrize("name", LOADERS)
NO_ARCHIVES_IN_WINE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            UNDER_WINE and name.endswith(".ckpt"),
            reason="Wine ends a process in which torch finds some faults of a zip archive",
        ),
    )
    for name in LOADERS
]


def cases(count: int):
    return settings(
        deadline=None,
        max_examples=count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with one good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    module = {name: t.half() for name, t in random_tensors(MODULE_SHAPES).items()}
    unet = {PREFIX + name: t.half() for name, t in random_tensors(UNET_SHAPES).items()}
    save_adapter(folder / "motion.safetensors", motion_adapter())
    save_adapter(folder / "spatial.safetensors", spatial_adapter())
    write_tensors(folder / "module.safetensors", module, {})
    write_tensors(folder / "unet.safetensors", unet, {})
    torch.save({"state_dict": module}, folder / "module.ckpt")
    torch.save(read_tensors(folder / "motion.safetensors")[0], folder / "lora.ckpt")
    return folder


def loads_or_says_why(name: str, path: Path, data: bytes) -> str | None:
    """Load these bytes; returns the one-line error, and checks that the folder stays as it was."""
    path.write_bytes(data)
    error = error_of(UserError, lambda: LOADERS[name](path))
    assert listing(path.parent) == {path.name: data}
    if error is not None:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    return error and str(error)


@KINDS
def test_the_good_files_load(good, name):
    LOADERS[name](good / name)


@KINDS
@cases(50)
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(good, tmp_path, name, data):
    content = (good / name).read_bytes()
    near_start = st.integers(0, min(2000, len(content) - 1))
    cut = data.draw(near_start | st.integers(0, len(content) - 1))
    assert loads_or_says_why(name, tmp_path / name, content[:cut])


@pytest.mark.parametrize("name", NO_ARCHIVES_IN_WINE)
@cases(100)
@given(data=st.data())
def test_flipped_bytes_never_raise_another_error(good, tmp_path, name, data):
    content = bytearray((good / name).read_bytes())
    # Headers are at the start of safetensors and at both ends of a zip archive.
    last = len(content) - 1
    place = st.integers(0, 8) | st.integers(0, min(4000, last)) | st.integers(0, last)
    place |= st.integers(max(0, last - 4000), last)
    for at, bits in data.draw(
        st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=4)
    ):
        content[at] ^= bits
    loads_or_says_why(name, tmp_path / name, bytes(content))


GARBAGE = st.binary(max_size=300)
HEADS = st.sampled_from(
    [b"", b"PK\x03\x04", b"\x80\x02", b"\x10" + bytes(7) + b"{", b"\0" * 8 + b"{"]
)


@KINDS
@cases(50)
@given(head=HEADS, garbage=GARBAGE)
def test_garbage_is_refused(tmp_path, name, head, garbage):
    assert loads_or_says_why(name, tmp_path / name, head + garbage)


def renamed(tensors, key, _):
    tensors[key + "x"] = tensors.pop(key)


def removed(tensors, key, _):
    del tensors[key]


def not_a_number(tensors, key, at):
    tensors[key] = tensors[key].clone()
    tensors[key].view(-1)[at % tensors[key].numel()] = float("nan")


def longer(tensors, key, _):
    tensors[key] = torch.cat([tensors[key], tensors[key][:1]])


def flat(tensors, key, _):
    tensors[key] = tensors[key].reshape(1, -1)[:, None]


def whole_numbers(tensors, key, _):
    tensors[key] = tensors[key].int()


CHANGES = [renamed, removed, not_a_number, longer, flat, whole_numbers]


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("change", CHANGES)
@cases(12)
@given(data=st.data())
def test_one_wrong_tensor_is_refused_with_a_reason(good, tmp_path, name, change, data):
    tensors, metadata = read_tensors(good / name)
    key = data.draw(st.sampled_from(sorted(tensors)))
    change(tensors, key, data.draw(st.integers(0, 10**6)))
    path = tmp_path / name
    write_tensors(path, tensors, metadata)
    assert loads_or_says_why(name, path, path.read_bytes())
