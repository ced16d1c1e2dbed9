"""A Spatial Adapter exported as a LoRA gives the weights that merging gives, in every tool."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from helpers.small_files import (
    SPATIAL_LAYERS,
    diffusers_model,
    motion_adapter,
    random_pair,
    shapes_unet,
    spatial_adapter,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.spatial_lora import export_lora
from still_moving.adapters.files.tensors import read_tensors
from still_moving.adapters.low_rank import merge_spatial
from still_moving.common.errors import UserError


def apply_lora(model: UNet2DConditionModel, lora) -> None:
    """What a kohya-style loader does, written without the pack."""
    modules = {f"lora_unet_{n.replace('.', '_')}": m for n, m in model.named_modules() if n}
    for stem in {name.partition(".")[0] for name in lora}:
        module = modules[stem]
        down, up = lora[f"{stem}.lora_down.weight"], lora[f"{stem}.lora_up.weight"]
        factor = lora[f"{stem}.alpha"].item() / down.shape[0]
        delta = factor * up.flatten(1) @ down.flatten(1)
        module.weight.data += delta.reshape(module.weight.shape)
        if f"{stem}.diff_b" in lora:
            module.bias.data += lora[f"{stem}.diff_b"]


@pytest.mark.parametrize("scale", [1.0, 0.5, -1.0])
def test_the_exported_lora_gives_the_merged_network(tmp_path, scale):
    unet, adapter = shapes_unet(), spatial_adapter()
    adapter.pairs = {name: random_pair(64, 4, i) for i, name in enumerate(SPATIAL_LAYERS)}
    export_lora(adapter, unet, tmp_path / "lora.safetensors", scale)
    lora, metadata = read_tensors(tmp_path / "lora.safetensors")
    assert metadata["ss_network_dim"] == "4"

    merged = dict(unet.tensors)
    for layer, pair in adapter.pairs.items():
        weight, bias = merged[f"{layer}.weight"], merged[f"{layer}.bias"]
        weight, bias = merge_spatial(weight, bias, pair, scale)
        assert bias is not None
        merged[f"{layer}.weight"], merged[f"{layer}.bias"] = weight, bias
    expected, model = (diffusers_model(t, unet.layout) for t in (merged, unet.tensors))
    apply_lora(model, lora)
    for name, parameter in model.named_parameters():
        wanted = expected.get_parameter(name)
        assert torch.allclose(parameter, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())
    assert not torch.equal(model.conv_in.weight, unet.tensors["input_blocks.0.0.weight"])


def test_convolutions_keep_their_four_dimensions(tmp_path):
    export_lora(spatial_adapter(), shapes_unet(), tmp_path / "a")
    lora, _ = read_tensors(tmp_path / "a")
    assert lora["lora_unet_conv_in.lora_down.weight"].shape == (4, 4, 3, 3)
    assert lora["lora_unet_conv_in.lora_up.weight"].shape == (64, 4, 1, 1)
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2"
    assert lora[f"{stem}.lora_down.weight"].shape == (4, 256)
    assert lora[f"{stem}.diff_b"].shape == (64,)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [(spatial_adapter(sites="blocks"), "whole blocks"), (motion_adapter(), "Motion Adapter")],
)
def test_what_cannot_be_merged_is_refused_and_nothing_written(tmp_path, adapter, message):
    with pytest.raises(UserError, match=message):
        export_lora(adapter, shapes_unet(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layer", "channels", "message"),
    [("input_blocks.9.0.out_layers.3", 64, "no such layer"), ("out.2", 64, "4 channels out")],
)
def test_another_unet_is_refused_by_the_layer_that_does_not_fit(tmp_path, layer, channels, message):
    adapter = spatial_adapter()
    adapter.pairs[layer] = random_pair(channels, 4, 0)
    with pytest.raises(UserError, match=message):
        export_lora(adapter, shapes_unet(), tmp_path / "a")


def test_the_exported_file_is_not_taken_for_an_adapter(tmp_path):
    export_lora(spatial_adapter(), shapes_unet(), tmp_path / "a")
    with pytest.raises(UserError, match="Load LoRA"):
        load_adapter(tmp_path / "a")


def test_a_checkpoint_of_8_bits_is_exported_as_what_it_is(tmp_path):
    unet = shapes_unet()
    stored = replace(unet, tensors={n: t.to(torch.float8_e4m3fn) for n, t in unet.tensors.items()})
    whole = replace(unet, tensors={n: t.float() for n, t in stored.tensors.items()})
    for name, weights in (("stored", stored), ("whole", whole)):
        export_lora(spatial_adapter(), weights, tmp_path / name)
    of_stored, of_whole = (read_tensors(tmp_path / name)[0] for name in ("stored", "whole"))
    assert of_stored.keys() == of_whole.keys()
    assert all(torch.equal(of_stored[name], of_whole[name]) for name in of_whole)
