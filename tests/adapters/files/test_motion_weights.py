"""Motion weights: the file, safe reading, and the amount."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.small_files import MODULE_SHAPES, UNET_SHAPES, error_of, random_tensors
from still_moving.adapters.files import kinds
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.motion_weights import (
    MotionWeights,
    MotionWeightsInfo,
    apply_motion_weights,
    at_amount,
    is_temporal,
    load_motion_weights,
    save_motion_weights,
)
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.common.errors import UserError

LAYERS = [name for name in MODULE_SHAPES if not name.endswith(".pe")]
KEYS = [name for name in UNET_SHAPES if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
INFO = MotionWeightsInfo("temporal.all+kv", base="shapes", steps=7, token="pll", recipe="{}")


@pytest.fixture(scope="module")
def network() -> dict[str, Tensor]:
    return {**random_tensors(UNET_SHAPES, 0), **random_tensors(MODULE_SHAPES, 1)}


@pytest.fixture(scope="module")
def after(network) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: network[name] + 0.01 * torch.randn(network[name].shape, generator=generator)
        for name in (*LAYERS, *KEYS)
    }


def learned_weights(network, after, form="difference") -> MotionWeights:
    info = MotionWeightsInfo(**{**vars(INFO), "form": form})
    return MotionWeights.between(info, network, after)


@pytest.mark.parametrize("form", ["difference", "whole"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_gives_back_what_was_learned(tmp_path, network, after, form, dtype):
    weights = learned_weights(network, after, form)
    save_motion_weights(tmp_path / "w.safetensors", weights, dtype)
    again = load_motion_weights(tmp_path / "w.safetensors")
    assert again.info == weights.info
    assert set(again.tensors) == set(after)
    moved = apply_motion_weights(network, again, 1.0)
    for name, tensor in after.items():
        # Half precision rounds relative to what it holds: a difference of at most 0.06 here.
        size = 0.06 if form == "difference" else tensor.abs().max().item()
        atol = size * 2**-11 if dtype == torch.float16 else 1e-6
        assert torch.allclose(moved[name], tensor, atol=atol, rtol=0), name
    for name in set(network) - set(after):
        assert moved[name] is network[name]


@pytest.mark.parametrize("form", ["difference", "whole"])
def test_the_amount_is_a_straight_line(network, after, form):
    weights = learned_weights(network, after, form)
    none, half, all_of_it = (apply_motion_weights(network, weights, a) for a in (0.0, 0.5, 1.0))
    assert all(none[name] is network[name] for name in network)
    for name, tensor in after.items():
        assert torch.allclose(all_of_it[name], tensor, atol=1e-6)
        middle = (network[name] + tensor) / 2
        assert torch.allclose(half[name], middle, atol=1e-6)
    if form == "whole":
        assert all(torch.equal(all_of_it[name], tensor) for name, tensor in after.items())


@given(st.floats(0, 1), st.sampled_from(["difference", "whole"]))
def test_both_forms_agree_and_keep_the_dtype(amount, form):
    generator = torch.Generator().manual_seed(0)
    own, new = (torch.randn(3, 4, generator=generator) for _ in range(2))
    learned = new - own if form == "difference" else new
    expected = own + amount * (new - own)
    assert torch.allclose(at_amount(own, learned, amount, form), expected, atol=1e-5)
    half = at_amount(own.half(), learned, amount, form)
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), expected, atol=1e-2)


def test_parts_are_told_by_their_names(network, after):
    weights = learned_weights(network, after)
    assert set(weights.part(temporal=True)) == set(LAYERS)
    assert set(weights.part(temporal=False)) == set(KEYS)
    assert all(is_temporal(name) for name in LAYERS)
    module = {name: network[name] for name in MODULE_SHAPES}
    moved = apply_motion_weights(module, weights, 1.0)
    assert set(moved) == set(module)


def test_another_network_is_refused(network, after):
    weights = learned_weights(network, after)
    with pytest.raises(UserError, match="found none"):
        apply_motion_weights({"other": torch.ones(2)}, weights, 1.0, "file")
    wide = {name: torch.ones(2, 2) for name in after}
    with pytest.raises(UserError, match="another size"):
        apply_motion_weights(wide, weights, 1.0, "file")


def test_every_reader_knows_the_file_by_name(tmp_path, network, after):
    path = tmp_path / "w.safetensors"
    save_motion_weights(path, learned_weights(network, after))
    assert kinds.kind_of(read_tensors(path)[0]) is kinds.MOTION_WEIGHTS
    for reader in (load_adapter, read_motion_module):
        with pytest.raises(UserError, match="motion weights"):
            reader(path)


def test_other_files_are_refused_by_name(tmp_path):
    write_tensors(tmp_path / "m.safetensors", random_tensors(MODULE_SHAPES, 1), {})
    with pytest.raises(UserError, match="a motion module"):
        load_motion_weights(tmp_path / "m.safetensors")


GOOD = f"temporal.{LAYERS[0]}"
FORM = {"still_moving.form": "difference"}


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({GOOD: torch.tensor([float("nan")])}, FORM),
        ({GOOD: torch.ones(2), "image.out.0.weight": torch.ones(2)}, FORM),
        ({GOOD: torch.ones(2), "temporal.../../etc": torch.ones(2)}, FORM),
        ({GOOD: torch.ones(2, dtype=torch.int32)}, FORM),
        ({GOOD: torch.ones(2), "loose": torch.ones(2)}, FORM),
        ({GOOD: torch.ones(2)}, {}),
        ({GOOD: torch.ones(2)}, {"still_moving.form": "other"}),
        ({GOOD: torch.ones(2)}, {**FORM, "still_moving.steps": "many"}),
        ({GOOD: torch.ones(2)}, {**FORM, "still_moving.format": "99"}),
    ],
)
def test_what_is_no_whole_file_is_refused(tmp_path, tensors, metadata):
    write_tensors(tmp_path / "w.safetensors", tensors, metadata)
    assert isinstance(
        error_of(UserError, lambda: load_motion_weights(tmp_path / "w.safetensors")), UserError
    )


def test_what_half_precision_cannot_hold_is_not_written(tmp_path):
    weights = MotionWeights(INFO, {LAYERS[0]: torch.full((2,), 1e6)})
    with pytest.raises(UserError, match="NaN or infinite"):
        save_motion_weights(tmp_path / "w.safetensors", weights)
    assert not list(tmp_path.iterdir())
