"""LoRA files for images, in the forms that tools write."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig

from helpers.small_files import (
    MODULE_SHAPES,
    diffusers_model,
    motion_adapter,
    motion_layers,
    shapes_unet,
    spatial_adapter,
)
from still_moving.adapters.files.adapter import save_adapter
from still_moving.adapters.files.image_lora import (
    merge_image_lora,
    read_image_lora,
    save_image_lora,
)
from still_moving.adapters.files.spatial_lora import export_lora
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.low_rank import LowRank, merge_spatial
from still_moving.common.errors import UserError

UNET = shapes_unet()
QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
OUT = "input_blocks.1.1.transformer_blocks.0.attn2.to_out.0"
CONV = "input_blocks.1.0.in_layers.2"
LAYERS = (QUERY, OUT, CONV)
DIFFUSERS = {layer: UNET.layout.to_diffusers(layer) for layer in LAYERS}


def pair_of(layer: str) -> LowRank:
    weight = UNET.tensors[f"{layer}.weight"]
    generator = torch.Generator().manual_seed(len(layer))
    down = torch.randn(2, weight[0].numel(), generator=generator)
    return LowRank(down, torch.randn(weight.shape[0], 2, generator=generator))


PAIRS = {layer: pair_of(layer) for layer in LAYERS}


def expected(layer: str, scale: float = 1.0) -> torch.Tensor:
    weight = UNET.tensors[f"{layer}.weight"]
    return weight + PAIRS[layer].delta(scale).reshape(weight.shape)


def shaped(layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(down, up) as tools store them: of a convolution in four dimensions."""
    pair, weight = PAIRS[layer], UNET.tensors[f"{layer}.weight"]
    if weight.ndim == 2:
        return pair.down, pair.up
    return pair.down.reshape(2, *weight.shape[1:]), pair.up[:, :, None, None]


def kohya(names) -> dict[str, torch.Tensor]:
    tensors = {}
    for layer, name in names.items():
        stem = "lora_unet_" + name.replace(".", "_")
        tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"] = shaped(layer)
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    return tensors


def named(down: str, up: str, prefix: str = "unet.") -> dict[str, torch.Tensor]:
    tensors = {}
    for layer, name in DIFFUSERS.items():
        tensors[f"{prefix}{name}{down}"], tensors[f"{prefix}{name}{up}"] = shaped(layer)
    return tensors


def processors(prefix: str) -> dict[str, torch.Tensor]:
    """diffusers' first form: the projection's name is a part of the processor's."""
    tensors = {}
    for layer in (QUERY, OUT):
        stem, _, end = DIFFUSERS[layer].removesuffix(".0").rpartition(".")
        down, up = shaped(layer)
        tensors[f"{prefix}{stem}.processor.{end}_lora.down.weight"] = down
        tensors[f"{prefix}{stem}.processor.{end}_lora.up.weight"] = up
    return tensors


FORMS = {
    "kohya": kohya(DIFFUSERS),
    "kohya, LDM names": kohya({layer: layer for layer in LAYERS}),
    "kohya, with text encoder": {
        **kohya(DIFFUSERS),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(2, 2),
    },
    "peft": named(".lora_A.weight", ".lora_B.weight"),
    "peft, named": named(".lora_A.default.weight", ".lora_B.default.weight"),
    "peft, alone": named(".lora_A.weight", ".lora_B.weight", ""),
    "diffusers": named(".lora.down.weight", ".lora.up.weight"),
    "diffusers, linear": named(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "SimpleTuner": named(".lora_down.weight", ".lora_up.weight", "lycoris_"),
    "MotionDirector, spatial": named("_lora.down.weight", "_lora.up.weight", ""),
    "ComfyUI, with its whole name": {
        f"diffusion_model.{layer}.lora_{part}.weight": tensor
        for layer in LAYERS
        for part, tensor in zip(("down", "up"), shaped(layer), strict=True)
    },
    "processors": processors("unet."),
    # guoyww/AnimateDiff, v3_sd15_adapter.ckpt: animatediff/utils/util.py, load_weights.
    "processors, domain adapter": processors(""),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_merged_alike(tmp_path, form):
    write_tensors(tmp_path / "l.safetensors", FORMS[form], {})
    merged = merge_image_lora(UNET, tmp_path / "l.safetensors")
    layers = (QUERY, OUT) if form.startswith("processors") else LAYERS
    for name, tensor in merged.tensors.items():
        layer = name.removesuffix(".weight")
        if layer in layers:
            assert torch.allclose(tensor, expected(layer), atol=1e-5), name
        else:
            assert tensor is UNET.tensors[name]


@pytest.mark.parametrize("scale", [0.0, 0.5, -1.0])
def test_what_is_written_is_read(tmp_path, scale):
    save_image_lora(tmp_path / "l.safetensors", {QUERY: PAIRS[QUERY]}, UNET.layout, {"a": "b"})
    tensors, metadata = read_tensors(tmp_path / "l.safetensors")
    assert set(tensors) == {
        f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.{end}"
        for end in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    assert (metadata["ss_network_dim"], metadata["a"]) == ("2", "b")
    merged = merge_image_lora(UNET, tmp_path / "l.safetensors", scale)
    weight = merged.tensors[f"{QUERY}.weight"]
    assert torch.allclose(weight, expected(QUERY, scale), atol=1e-5)


def test_alpha_counts(tmp_path):
    halved = {n: t / 2 if n.endswith("alpha") else t for n, t in FORMS["kohya"].items()}
    write_tensors(tmp_path / "l.safetensors", halved, {})
    merged = merge_image_lora(UNET, tmp_path / "l.safetensors")
    assert torch.allclose(merged.tensors[f"{OUT}.weight"], expected(OUT, 0.5), atol=1e-5)


def test_half_precision_stays_half(tmp_path):
    half = replace(UNET, tensors={n: t.half() for n, t in UNET.tensors.items()})
    write_tensors(tmp_path / "l.safetensors", FORMS["kohya"], {})
    merged = merge_image_lora(half, tmp_path / "l.safetensors")
    assert {t.dtype for t in merged.tensors.values()} == {torch.float16}
    assert torch.allclose(merged.tensors[f"{QUERY}.weight"].float(), expected(QUERY), atol=2e-2)


UP, DOWN = "lora_unet_{}.lora_up.weight", "lora_unet_{}.lora_down.weight"
PLACE = DIFFUSERS[QUERY].replace(".", "_")
BAD = {
    "another family": {
        UP.format("down_blocks_9_attentions_0_proj_in"): torch.ones(64, 2),
        DOWN.format("down_blocks_9_attentions_0_proj_in"): torch.ones(2, 64),
    },
    "half of a layer": {UP.format(PLACE): torch.ones(64, 2)},
    "another size": {UP.format(PLACE): torch.ones(32, 2), DOWN.format(PLACE): torch.ones(2, 64)},
    "LoHa": {f"lora_unet_{PLACE}.hada_w1_a": torch.ones(2, 2)},
    "DoRA of another size": {**FORMS["kohya"], f"lora_unet_{PLACE}.dora_scale": torch.ones(63, 1)},
    "OFT": {f"lora_unet_{PLACE}.oft_blocks": torch.ones(2, 2, 2)},
    "GLoRA": {f"lora_unet_{PLACE}.{part}.weight": torch.ones(2, 2) for part in ("a1", "b1")},
    "twice": {**FORMS["kohya"], **FORMS["peft"]},
    "reshaped": {**FORMS["kohya"], f"lora_unet_{PLACE}.reshape_weight": torch.tensor([64, 99])},
    "a bias that is not there": {f"lora_unet_{PLACE}.diff_b": torch.ones(64)},
    "text encoder alone": {"lora_te_text_model.lora_up.weight": torch.ones(2, 2)},
    "no number": {n: t / 0 for n, t in FORMS["kohya"].items()},
    "a motion module": {n: torch.ones(1) for n in list(MODULE_SHAPES)[:5]},
}


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused(tmp_path, name):
    write_tensors(tmp_path / "l.safetensors", BAD[name], {})
    with pytest.raises(UserError, match=r"l\.safetensors"):
        merge_image_lora(UNET, tmp_path / "l.safetensors")


def test_a_motion_lora_is_refused(tmp_path):
    save_adapter(tmp_path / "l.safetensors", motion_adapter())
    with pytest.raises(UserError, match="images"):
        merge_image_lora(UNET, tmp_path / "l.safetensors")


@pytest.mark.parametrize(("name", "said"), [("OFT", "a OFT"), ("GLoRA", "a GLoRA")])
def test_other_forms_are_called_by_their_names(tmp_path, name, said):
    write_tensors(tmp_path / "l.safetensors", BAD[name], {})
    with pytest.raises(UserError, match=said) as error:
        merge_image_lora(UNET, tmp_path / "l.safetensors")
    assert "damaged" not in str(error.value)
    assert "Load LoRA" in str(error.value)


def test_our_own_exported_spatial_adapter_is_one(tmp_path):
    adapter = spatial_adapter()
    export_lora(adapter, UNET, tmp_path / "l.safetensors")
    merged = merge_image_lora(UNET, tmp_path / "l.safetensors").tensors
    for layer, pair in adapter.pairs.items():
        weight, bias = (UNET.tensors[f"{layer}.{leaf}"] for leaf in ("weight", "bias"))
        wanted = merge_spatial(weight, bias, pair, 1.0)
        for leaf, tensor in zip(("weight", "bias"), wanted, strict=True):
            assert tensor is not None
            assert torch.allclose(merged[f"{layer}.{leaf}"], tensor, rtol=1e-5, atol=1e-5)


def test_a_lora_goes_into_weights_of_8_bits(tmp_path):
    stored = replace(UNET, tensors={n: t.to(torch.float8_e4m3fn) for n, t in UNET.tensors.items()})
    write_tensors(tmp_path / "l.safetensors", FORMS["kohya"], {})
    merged = merge_image_lora(stored, tmp_path / "l.safetensors").tensors
    own = stored.tensors[f"{QUERY}.weight"].float()
    assert torch.allclose(merged[f"{QUERY}.weight"].float(), own + PAIRS[QUERY].delta(), atol=2e-2)
    assert merged["input_blocks.0.0.weight"].dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("bias", [False, True])
def test_peft_and_diffusers_are_merged_as_they_merge(tmp_path, bias):
    """DoRA by rows and lora_bias, whose keys only peft writes, against peft's own merge."""
    model = diffusers_model(UNET.tensors, UNET.layout)
    options: Any = {"lora_bias": True} if bias else {"use_dora": True}
    targets = [DIFFUSERS[layer] for layer in ((OUT, CONV) if bias else LAYERS)]
    patterns: Any = {"rank_pattern": {"conv1": 6}, "alpha_pattern": {"to_out.0": 9}}
    config = LoraConfig(target_modules=targets, r=4, lora_alpha=6, **options, **patterns)
    model.add_adapter(config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    model.save_lora_adapter(tmp_path)
    model.fuse_lora()
    merged = merge_image_lora(UNET, tmp_path / "pytorch_lora_weights.safetensors").tensors
    for layer in targets:
        for leaf in ("weight", "bias"):
            wanted = getattr(model.get_submodule(layer).get_base_layer(), leaf)
            if wanted is not None:
                ours = merged[UNET.layout.to_ldm(f"{layer}.{leaf}")]
                assert torch.allclose(ours, wanted, atol=1e-5), (layer, leaf)


def test_lokr_in_tuckers_form_is_merged_as_lycoris_merges_it(tmp_path):
    """LyCORIS, functional/general.py, rebuild_tucker, and lokr.py, make_kron.

    ComfyUI's core stops at this form with an error in its log, and leaves the layer as it is.
    """
    torch.manual_seed(0)
    w1, t, a, b = (torch.randn(*shape) for shape in ((4, 8), (3, 3, 3, 3), (3, 16), (3, 8)))
    parts = {
        "lokr_w1": w1,
        "lokr_t2": t,
        "lokr_w2_a": a,
        "lokr_w2_b": b,
        "alpha": torch.tensor(2.0),
    }
    parts["alpha"] = torch.tensor(2.0)
    name = "lora_unet_" + DIFFUSERS[CONV].replace(".", "_")
    write_tensors(tmp_path / "l", {f"{name}.{part}": tensor for part, tensor in parts.items()}, {})
    w2 = torch.einsum("ijkl,ip,jr->prkl", t, a, b)
    change = torch.kron(w1[:, :, None, None], w2.contiguous()) * (2 / 3)
    merged = merge_image_lora(UNET, tmp_path / "l").tensors[f"{CONV}.weight"]
    assert torch.allclose(merged, UNET.tensors[f"{CONV}.weight"] + change, atol=1e-5)


def test_what_is_left_out_is_said(tmp_path):
    tensors = FORMS["kohya, with text encoder"] | {
        f"lora_unet_{motion_layers()[0].replace('.', '_')}.lora_down.weight": torch.ones(2, 64)
    }
    write_tensors(tmp_path / "l.safetensors", tensors, {})
    (note,) = read_image_lora(tmp_path / "l.safetensors").notes
    assert "1 tensors of the text encoder" in note
    assert "1 tensors of temporal layers" in note
