"""Random forms of checkpoints, motion modules and text encoders: what is whole loads, what is
damaged is a UserError, and nothing that is whole is called damaged.
"""

from __future__ import annotations

import json
import pickle
import string
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from helpers.small_files import (
    MODULE_SHAPES,
    SHAPES_LAYOUT,
    UNET_SHAPES,
    error_of,
    random_tensors,
)
from helpers.under_wine import UNDER_WINE
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.checkpoint import recognize as recognize_unet
from still_moving.adapters.files.motion_module import read_motion_module, to_diffusers
from still_moving.adapters.files.motion_module import recognize as recognize_motion
from still_moving.adapters.files.motion_names import motion_layers
from still_moving.adapters.files.tensors import read_tensors, refuse_non_finite
from still_moving.adapters.files.text_encoder import text_tensors
from still_moving.adapters.files.unet_names import extract_unet
from still_moving.common.errors import UserError

UNET = {name: t.half() for name, t in random_tensors(UNET_SHAPES).items()}
MOTION = {name: t.half() for name, t in random_tensors(MODULE_SHAPES).items()}
TEXT = {
    "embeddings.token_embedding.weight": torch.randn(20, 768).half(),
    "embeddings.position_embedding.weight": torch.randn(7, 768).half(),
    "final_layer_norm.weight": torch.ones(768).half(),
}
KINDS = {
    "unet": (UNET, lambda path: read_unet(path).tensors),
    "motion": (MOTION, lambda path: read_motion_module(path).tensors),
    "text": (TEXT, lambda path: text_tensors(path, read_tensors(path)[0])),
}
kinds = pytest.mark.parametrize("kind", KINDS)
MEANT = ("ema", "module", "encoder", "decoder", "vae", "lora", "temporal", "image")
WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=6).filter(lambda w: w not in MEANT)
PREFIXES = st.sampled_from(["", "model.diffusion_model.", "unet.", "model.", "_orig_mod."])
WRAPPINGS = st.sampled_from(["", "state_dict", "model", "module", "params", "ema_state_dict"])


def cases(count: int):
    return settings(
        deadline=None,
        max_examples=count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def renamed(kind, tensors, data):
    """The tensors in another naming, under a prefix, beside what such files hold too."""
    if kind == "unet" and data.draw(st.booleans()):
        tensors = {SHAPES_LAYOUT.to_diffusers(name): t for name, t in tensors.items()}
    elif kind == "motion" and data.draw(st.booleans()):
        tensors = to_diffusers(tensors)
    prefix = data.draw(PREFIXES | WORDS.map(lambda word: f"{word}."))
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    names = data.draw(st.permutations(sorted(named)[:20])) + sorted(named)[20:]
    beside = {"global_step": torch.tensor(4)} if kind != "text" else {}
    return {name: named[name] for name in names} | beside


def written(path, tensors, data):
    """As safetensors, or as torch's file in a wrapping."""
    if data.draw(st.booleans()):
        save_file({k: t.contiguous().clone() for k, t in tensors.items()}, path)
        return
    wrapping = data.draw(WRAPPINGS)
    mark = data.draw(st.sampled_from(["", "module."]))
    content = {mark + name: tensor for name, tensor in tensors.items()}
    more = {"epoch": data.draw(st.integers()), "note": data.draw(st.text(max_size=5))}
    old = data.draw(st.booleans())
    torch.save(
        {wrapping: content, **more} if wrapping else content,
        path, _use_new_zipfile_serialization=not old,
    )  # fmt: skip  # what, then where and how


@pytest.mark.slow
@kinds
@cases(30)
@given(data=st.data())
def test_every_whole_form_loads(tmp_path, kind, data):
    tensors, load = KINDS[kind]
    written(tmp_path / "form", renamed(kind, tensors, data), data)
    loaded = load(tmp_path / "form")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def loads_or_says_why(kind, path: Path) -> str | None:
    error = error_of(UserError, lambda: KINDS[kind][1](path))
    if error is None:
        return None
    assert path.name in str(error)
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    return str(error)


CHANGES = {
    "dropped": lambda tensors, key: tensors.pop(key),
    "renamed": lambda tensors, key: tensors.update({f"{key}x": tensors.pop(key)}),
    "longer": lambda tensors, key: tensors.update({key: torch.cat([tensors[key], tensors[key]])}),
    "flat": lambda tensors, key: tensors.update({key: tensors[key].reshape(-1)}),
    "nan": lambda tensors, key: tensors.update({key: tensors[key] * float("nan")}),
    "whole numbers": lambda tensors, key: tensors.update({key: tensors[key].to(torch.int32)}),
    "empty": lambda tensors, key: tensors.update({key: torch.empty(0)}),
}


def checked(kind, path, tensors):
    """What the readers ask of tensors that they have read."""
    if kind == "unet":
        found, _ = extract_unet(path, tensors)
        recognize_unet(path, found)
    else:
        recognize_motion(path, tensors)
        found = motion_layers(path, tensors).tensors
    refuse_non_finite(path, found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unet", "motion"])
@pytest.mark.parametrize("change", CHANGES)
@cases(50)
@given(data=st.data())
def test_one_changed_tensor_is_refused(kind, change, data):
    tensors = renamed(kind, KINDS[kind][0], data)
    checked(kind, Path("form"), tensors)
    # A table of positions is one of two in diffusers' naming; flat ones stay when made flat.
    names = sorted(n for n, t in tensors.items() if t.ndim > 1 and not n.endswith(".pe"))
    CHANGES[change](tensors, data.draw(st.sampled_from(names)))
    error = error_of(UserError, lambda: checked(kind, Path("form"), tensors))
    assert error is not None
    assert "form" in str(error)


@pytest.mark.slow
@kinds
@cases(40)
@given(data=st.data())
def test_a_header_of_rubbish_is_refused(tmp_path, kind, data):
    tensors = KINDS[kind][0]
    save_file({k: t.contiguous().clone() for k, t in tensors.items()}, tmp_path / "form")
    content = (tmp_path / "form").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    name = data.draw(st.sampled_from(sorted(header)))
    header[name] = data.draw(
        st.sampled_from(
            [
                None, [], "F16", {"dtype": "F16"},
                {**header[name], "dtype": "F99"},
                {**header[name], "shape": [-1, 3]},
                {**header[name], "shape": [2**40]},
                {**header[name], "data_offsets": [0, 2**50]},
                {**header[name], "data_offsets": [8, 4]},
                {**header[name], "data_offsets": "all"},
            ]
        )
    )  # fmt: skip  # what may stand there, several a line
    head = json.dumps(header).encode()
    (tmp_path / "form").write_bytes(len(head).to_bytes(8, "little") + head + content[8 + size :])
    assert "damaged" in (loads_or_says_why(kind, tmp_path / "form") or "")


KEYS = st.text(max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from([print, Path("a"), ValueError("a"), range(3), {1, 2}, 1j, slice(1)])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's; that is what is tried
@kinds
@cases(70)
@given(data=st.data())
def test_odd_pickles_are_refused_and_nothing_of_them_runs(tmp_path, kind, data):
    content = data.draw(PLAIN | ODD | st.dictionaries(KEYS, ODD, max_size=3))
    if data.draw(st.booleans()):
        (tmp_path / "form").write_bytes(pickle.dumps(content, data.draw(st.integers(2, 5))))
    else:
        torch.save(content, tmp_path / "form")
    assert loads_or_says_why(kind, tmp_path / "form")


@pytest.mark.skipif(UNDER_WINE, reason="Wine ends a process for some faults of a zip archive")
@pytest.mark.slow
@kinds
@cases(30)
@given(data=st.data())
def test_cut_and_flipped_files_are_never_another_error(tmp_path, kind, data):
    written(tmp_path / "form", renamed(kind, KINDS[kind][0], data), data)
    content = bytearray((tmp_path / "form").read_bytes())
    last = len(content) - 1
    place = st.integers(0, min(last, 3000)) | st.integers(max(0, last - 3000), last)
    if data.draw(st.booleans()):
        del content[data.draw(place) :]
    else:
        content[data.draw(place)] ^= data.draw(st.integers(1, 255))
    (tmp_path / "form").write_bytes(bytes(content))
    loads_or_says_why(kind, tmp_path / "form")
