"""Adapters on the network: untrained ones change nothing, merged ones equal attached ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.small import (
    CPU,
    clip_inputs,
    motion_module,
    new_unet,
    prediction,
    random_motion_adapter,
    randomize,
    weights,
)
from still_moving.adapters.files.adapter import Adapter, AdapterInfo
from still_moving.adapters.files.spatial_lora import export_lora
from still_moving.adapters.files.tensors import read_tensors
from still_moving.adapters.low_rank import LowRank, merge_lora, merge_spatial
from still_moving.common.errors import UserError
from still_moving.training.network.lora import (
    add_motion_adapter,
    load_motion_adapter,
    motion_pairs,
    set_motion_scale,
)
from still_moving.training.network.spatial import (
    SpatialAdapter,
    SpatialAdapters,
    load_spatial_adapter,
    spatial_sites,
)
from still_moving.training.network.unet import build_unet, predict

POLICIES = ("layers", "blocks")
SCALES = (1.0, 0.0, -1.0, 0.5)


@pytest.fixture(scope="module")
def base() -> Tensor:
    return prediction(new_unet())


@pytest.fixture
def unet():
    return new_unet()


def values(pairs) -> list[Tensor]:
    return [parameter for pair in pairs.values() for parameter in pair]


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).norm() / expected.norm())


@pytest.mark.parametrize("scale", SCALES)
def test_an_untrained_motion_adapter_changes_nothing(unet, base, scale):
    add_motion_adapter(unet, rank=4, seed=0)
    set_motion_scale(unet, scale)
    assert torch.equal(prediction(unet), base)
    assert all(down.abs().max() > 0 for down, _ in motion_pairs(unet).values())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", SCALES)
def test_an_untrained_spatial_adapter_changes_nothing(unet, base, policy, scale):
    adapters = SpatialAdapters(unet, policy, rank=4, seed=0)
    adapters.set_scale(scale)
    assert torch.equal(prediction(unet), base)


def test_a_trained_motion_adapter_at_scale_zero_changes_nothing(unet, base):
    add_motion_adapter(unet, rank=4, seed=0)
    randomize(values(motion_pairs(unet)))
    set_motion_scale(unet, 0.0)
    assert torch.equal(prediction(unet), base)
    set_motion_scale(unet, 1.0)
    assert relative(prediction(unet), base) > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_a_trained_spatial_adapter_at_scale_zero_changes_nothing(unet, base, policy):
    adapters = SpatialAdapters(unet, policy, rank=4, seed=0)
    randomize(adapters.parameters())
    adapters.set_scale(0.0)
    assert torch.equal(prediction(unet), base)
    adapters.set_scale(1.0)
    assert relative(prediction(unet), base) > 1e-3


def test_adapters_start_from_their_seed_alone():
    starts = []
    for seed, noise in ((0, 1), (0, 2), (1, 2)):
        torch.manual_seed(noise)
        motion, spatial = new_unet(), new_unet()
        add_motion_adapter(motion, 4, seed)
        adapters = SpatialAdapters(spatial, "layers", 4, seed)
        starts.append([t.clone() for t in values(motion_pairs(motion) | adapters.pairs())])
    assert all(map(torch.equal, starts[0], starts[1]))
    assert not all(map(torch.equal, starts[0], starts[2]))


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.5])
def test_a_merged_motion_adapter_equals_the_attached_one(unet, scale):
    adapter = random_motion_adapter()
    load_motion_adapter(unet, adapter, "random")
    set_motion_scale(unet, scale)
    tensors = dict(motion_module().tensors)
    for layer, pair in adapter.pairs.items():
        name = f"{layer}.weight"
        tensors[name] = merge_lora(tensors[name], pair, scale)
    merged = build_unet(weights(), replace(motion_module(), tensors=tensors), torch.float32, CPU)
    assert relative(prediction(merged), prediction(unet)) < 1e-5
    assert relative(prediction(merged), prediction(new_unet())) > 1e-3


def trained_spatial_adapter(unet, policy: str = "layers") -> tuple[SpatialAdapters, Adapter]:
    adapters = SpatialAdapters(unet, policy, rank=4, seed=0)
    randomize(adapters.parameters())
    layout = weights().layout
    pairs = {
        layout.to_ldm(name): LowRank(down.detach(), up.detach())
        for name, (down, up) in adapters.pairs().items()
    }
    info = AdapterInfo("spatial", 4, policy, "shapes", motion_module().hash, weights().hash)
    return adapters, Adapter(info, pairs)


def test_the_layers_are_all_that_write_to_the_residual_stream(unet):
    sites = spatial_sites(unet, "layers")
    ends = {name.rsplit("blocks.", 1)[-1].split(".", 1)[-1] for name in sites}
    # 1 conv_in; 8 resnets, 4 of the up path with shortcuts; 7 transformers of 4; 2 samplers.
    assert len(sites) == 1 + 8 + 4 + 7 * 4 + 2, ends
    assert len(spatial_sites(unet, "blocks")) == 8 + 7
    assert not any("motion_modules" in name for name in sites)


@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_a_merged_spatial_adapter_equals_the_attached_one(unet, scale):
    adapters, adapter = trained_spatial_adapter(unet)
    adapters.set_scale(scale)
    merged = build_unet(merge(adapter, scale), motion_module(), torch.float32, CPU)
    assert relative(prediction(merged), prediction(unet)) < 1e-5
    assert relative(prediction(merged), prediction(new_unet())) > 1e-3


def merge(adapter: Adapter, scale: float):
    tensors = dict(weights().tensors)
    for layer, pair in adapter.pairs.items():
        weight, bias = tensors[f"{layer}.weight"], tensors.get(f"{layer}.bias")
        merged, merged_bias = merge_spatial(weight, bias, pair, scale)
        tensors[f"{layer}.weight"] = merged
        if merged_bias is not None:
            tensors[f"{layer}.bias"] = merged_bias
    return replace(weights(), tensors=tensors)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_exported_lora_gives_the_merged_weights(unet, tmp_path, scale):
    _, adapter = trained_spatial_adapter(unet)
    export_lora(adapter, weights(), tmp_path / "lora.safetensors", scale)
    lora, _ = read_tensors(tmp_path / "lora.safetensors")
    expected = merge(adapter, scale).tensors
    layout = weights().layout
    used = set()
    for name, weight in weights().tensors.items():
        layer, _, kind = name.rpartition(".")
        kohya = "lora_unet_" + layout.to_diffusers(layer).replace(".", "_")
        if kind == "bias":
            ours = weight + lora.get(f"{kohya}.diff_b", torch.tensor(0.0))
            used.add(f"{kohya}.diff_b")
        elif f"{kohya}.lora_up.weight" in lora:
            down, up = (lora[f"{kohya}.lora_{half}.weight"].flatten(1) for half in ("down", "up"))
            factor = lora[f"{kohya}.alpha"] / len(down)
            ours = weight + factor * (up @ down).reshape(weight.shape)
            used |= {f"{kohya}.{n}" for n in ("lora_down.weight", "lora_up.weight", "alpha")}
        else:
            ours = weight
        assert torch.allclose(ours, expected[name], atol=1e-5), name
    assert set(lora) <= used


@pytest.mark.parametrize("policy", POLICIES)
def test_an_adapter_taken_out_and_put_back_is_the_same(unet, policy):
    adapters, adapter = trained_spatial_adapter(unet, policy)
    adapters.set_scale(0.7)
    other = new_unet()
    load_spatial_adapter(other, adapter, weights().layout, "file").set_scale(0.7)
    for parameter in adapters.parameters():
        parameter.requires_grad_(False)  # torch orders a product otherwise where it wants gradients
    assert torch.equal(prediction(other), prediction(unet))
    assert not any(p.requires_grad for p in other.parameters())


def test_a_block_site_acts_on_the_whole_output_of_its_block():
    """Eq. 4 on the block, its residual included; held against the formula on the tensors."""
    unet = new_unet()
    adapters = SpatialAdapters(unet, "blocks", rank=4, seed=0)
    randomize(adapters.parameters())
    name = "down_blocks.0.attentions.0"
    down, up = adapters.pairs()[name]
    seen = []
    unet.get_submodule(name).register_forward_hook(lambda m, i, o: seen.append(o[0]))
    for scale in (0.0, 1.0):
        for site, place in zip(adapters.sites, adapters.names, strict=True):
            assert isinstance(site, SpatialAdapter)
            site.scale = scale if place == name else 0.0
        with torch.no_grad():
            predict(unet, *clip_inputs())
    plain, adapted = seen
    pixels = plain.permute(0, 2, 3, 1)
    expected = pixels + pixels @ down.T @ up.T
    assert torch.allclose(adapted, expected.permute(0, 3, 1, 2), atol=1e-5)


def test_an_adapter_for_other_layers_is_refused(unet):
    adapter = random_motion_adapter()
    some = Adapter(adapter.info, dict(list(adapter.pairs.items())[1:]))
    with pytest.raises(UserError, match=r"my file.* 1 missing"):
        load_motion_adapter(unet, some, "my file")
    wide = {n: LowRank(torch.ones(2, 96), torch.ones(96, 2)) for n in adapter.pairs}
    with pytest.raises(UserError, match="shape"):
        load_motion_adapter(new_unet(), Adapter(adapter.info, wide), "my file")
