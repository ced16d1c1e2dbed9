"""Adapter files: what is saved is what is loaded, in our form and in other tools'."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from helpers.small_files import (
    listing,
    motion_adapter,
    motion_layers,
    random_pair,
    spatial_adapter,
    spellings,
)
from still_moving.adapters.files.adapter import Adapter, AdapterInfo, load_adapter, save_adapter
from still_moving.adapters.files.metadata import FORMAT
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.low_rank import LowRank
from still_moving.common.errors import UserError

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LAYERS = {
    "motion": st.sampled_from(motion_layers()),
    "spatial": st.sampled_from(
        ["input_blocks.0.0", "input_blocks.1.1.proj_out", "output_blocks.0.0"]
    ),
}


@st.composite
def adapters(draw):
    kind = draw(st.sampled_from(["motion", "spatial"]))
    rank = draw(st.integers(1, 4))
    layers = draw(st.sets(LAYERS[kind], min_size=1))
    info = AdapterInfo(
        kind=kind,
        rank=rank,
        sites=draw(st.sampled_from(["temporal.qkv", "layers", "blocks"])),
        base=draw(st.sampled_from(["sd15", "shapes"])),
        motion_module=draw(TEXT),
        checkpoint=draw(st.none() | TEXT),
        steps=draw(st.integers(0, 10**6)),
        recipe=draw(TEXT),
        motion_module_name=draw(TEXT),
        checkpoint_name=draw(st.none() | TEXT),
        fingerprint=draw(TEXT),
    )
    pairs = {layer: random_pair(draw(st.integers(1, 6)), rank, i) for i, layer in enumerate(layers)}
    return Adapter(info, pairs)


def same(a: Adapter, b: Adapter) -> bool:
    return a.info == b.info and same_pairs(a.pairs, b.pairs)


def same_pairs(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k].down, b[k].down) and torch.equal(a[k].up, b[k].up) for k in a
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(adapters())
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, adapter):
    path = tmp_path_factory.mktemp("file") / "a.safetensors"
    save_adapter(path, adapter)
    assert same(load_adapter(path), adapter)
    assert same(load_adapter(path, adapter.info.kind), adapter)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_smaller_dtype_is_kept(tmp_path, dtype):
    save_adapter(tmp_path / "a", motion_adapter(), dtype)
    for name, pair in load_adapter(tmp_path / "a").pairs.items():
        assert pair.down.dtype == pair.up.dtype == dtype
        assert torch.equal(pair.up, motion_adapter().pairs[name].up.to(dtype))


def test_a_motion_adapter_is_a_motion_lora_by_its_keys(tmp_path):
    save_adapter(tmp_path / "a.safetensors", motion_adapter())
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        names = set(file.keys())
    assert names == {key for name in motion_layers() for key in spellings(name)["AnimateDiff"]}


@settings(deadline=None, max_examples=100)
@given(
    form=st.sampled_from(list(spellings(motion_layers()[0]))),
    layers=st.sets(LAYERS["motion"], min_size=1, max_size=5),
    alpha=st.none() | st.floats(0.125, 64, width=32),
    as_torch=st.booleans(),
    convolutions=st.booleans(),
)
def test_motion_loras_of_other_tools_load(
    tmp_path_factory, form, layers, alpha, as_torch, convolutions
):
    path = tmp_path_factory.mktemp("foreign") / "lora.ckpt"
    pairs = {layer: random_pair(6, 4, i) for i, layer in enumerate(layers)}
    tensors = {}
    for layer, pair in pairs.items():
        ends = (1, 1) if convolutions else ()
        down, up = spellings(layer)[form]
        tensors |= {down: pair.down.reshape(4, 6, *ends), up: pair.up.reshape(6, 4, *ends)}
        if alpha is not None:
            stem = up.removesuffix(".lora_B.weight").removesuffix(".lora_up.weight")
            tensors[f"{stem.removesuffix('.up.weight')}.alpha"] = torch.tensor(alpha)
    if as_torch:
        torch.save({"state_dict": tensors}, path)
    else:
        write_tensors(path, tensors, {})
    adapter = load_adapter(path, "motion")
    factor = 1.0 if alpha is None else alpha / 4
    expected = {k: LowRank(pair.down, pair.up * factor) for k, pair in pairs.items()}
    assert same_pairs(adapter.pairs, expected)
    assert adapter.info == AdapterInfo("motion", 4, "unknown")
    assert adapter.info.motion_module == "unknown"


def test_alpha_in_diffusers_metadata_counts(tmp_path):
    layer, pair = motion_layers()[0], random_pair(6, 4, 0)
    down, up = spellings(layer)["peft"]
    stated = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "unet.r": 4})}
    write_tensors(tmp_path / "a", {down: pair.down, up: pair.up}, stated)
    assert torch.equal(load_adapter(tmp_path / "a").pairs[layer].up, pair.up / 2)


def test_an_adapter_outlives_its_file(tmp_path):
    save_adapter(tmp_path / "a", motion_adapter())
    adapter = load_adapter(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\0" * 100)
    assert same_pairs(adapter.pairs, motion_adapter().pairs)


def test_the_wrong_kind_is_refused_with_the_right_name(tmp_path):
    save_adapter(tmp_path / "motion", motion_adapter())
    save_adapter(tmp_path / "spatial", spatial_adapter())
    with pytest.raises(UserError, match=r"found a Motion Adapter, expected a Spatial Adapter"):
        load_adapter(tmp_path / "motion", "spatial")
    with pytest.raises(UserError, match=r"found a Spatial Adapter, expected a Motion Adapter"):
        load_adapter(tmp_path / "spatial", "motion")
    write_tensors(tmp_path / "lora", {"lora_unet_conv_in.lora_up.weight": torch.ones(3, 2)}, {})
    with pytest.raises(UserError, match="a LoRA for images"):
        load_adapter(tmp_path / "lora", "motion")


def broken(layer: str, change) -> dict[str, torch.Tensor]:
    tensors = {f"{layer}.down": torch.ones(2, 4), f"{layer}.up": torch.ones(4, 2)}
    change(tensors)
    return tensors


SITE = "input_blocks.1.1.proj_out"


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("only 'up' of", lambda t: t.pop(f"{SITE}.down")),
        ("only 'down' of", lambda t: t.pop(f"{SITE}.up")),
        (r"\(3, 4\)", lambda t: t.update({f"{SITE}.down": torch.ones(3, 4)})),
        (r"\(2, 5\)", lambda t: t.update({f"{SITE}.down": torch.ones(2, 5)})),
        (r"\(2, 4, 3, 3\)", lambda t: t.update({f"{SITE}.down": torch.ones(2, 4, 3, 3)})),
        ("int32", lambda t: t.update({f"{SITE}.up": torch.ones(4, 2, dtype=torch.int32)})),
        ("NaN", lambda t: t.update({f"{SITE}.up": torch.full((4, 2), float("nan"))})),
        ("the key 'a.down'", lambda t: t.update({"a.down": torch.ones(2, 4)})),
        ("the key 'extra'", lambda t: t.update({"extra": torch.ones(1)})),
    ],
)
def test_a_damaged_spatial_adapter_is_refused(tmp_path, message, change):
    write_tensors(tmp_path / "a", broken(SITE, change), {})
    with pytest.raises(UserError, match=message):
        load_adapter(tmp_path / "a")


@pytest.mark.parametrize(
    ("message", "metadata"),
    [
        ("format 2", {"still_moving.format": "2"}),
        ("damaged metadata", {"still_moving.steps": "many"}),
        ("damaged metadata", {"still_moving.format": ""}),
    ],
)
def test_damaged_or_newer_metadata_is_refused(tmp_path, message, metadata):
    write_tensors(tmp_path / "a", broken(SITE, lambda t: None), metadata)
    with pytest.raises(UserError, match=message):
        load_adapter(tmp_path / "a")


@pytest.mark.parametrize("text", ["1.0", "", "nan"])
def test_metadata_of_earlier_versions_that_nothing_reads_is_passed_over(tmp_path, text):
    write_tensors(tmp_path / "a", broken(SITE, lambda t: None), {})
    plain = load_adapter(tmp_path / "a").info
    metadata = {"still_moving.kind": "spatial", "still_moving.recommended_scale": text}
    write_tensors(tmp_path / "a", broken(SITE, lambda t: None), metadata)
    assert load_adapter(tmp_path / "a").info == plain


def test_a_save_that_fails_keeps_the_old_file(tmp_path):
    save_adapter(tmp_path / "a", motion_adapter())
    before = listing(tmp_path)
    diverged = motion_adapter()
    layer = motion_layers()[3]
    diverged.pairs[layer] = LowRank(diverged.pairs[layer].down, torch.full((64, 4), float("inf")))
    with pytest.raises(UserError, match="NaN or infinite"):
        save_adapter(tmp_path / "a", diverged)
    # Finite in fp32, and too large for the asked dtype.
    pairs = {name: LowRank(p.down * 1e6, p.up) for name, p in motion_adapter().pairs.items()}
    with pytest.raises(UserError, match="NaN or infinite"):
        save_adapter(tmp_path / "a", Adapter(motion_adapter().info, pairs), torch.float16)
    assert listing(tmp_path) == before


def test_the_format_of_today_is_readable_by_its_number():
    assert AdapterInfo("motion", 4, "temporal.qkv").format == FORMAT == 1
