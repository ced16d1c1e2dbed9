"""LoRA files for images, in the forms that tools write."""

import pytest
import torch

from helpers.small_files import MODULE_SHAPES, motion_adapter, shapes_unet
from still_moving.adapters.files.adapter import save_adapter
from still_moving.adapters.files.image_lora import merge_image_lora, save_image_lora
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.low_rank import LowRank
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


def processors() -> dict[str, torch.Tensor]:
    """diffusers' first form: the projection's name is a part of the processor's."""
    tensors = {}
    for layer in (QUERY, OUT):
        stem, _, end = DIFFUSERS[layer].removesuffix(".0").rpartition(".")
        down, up = shaped(layer)
        tensors[f"unet.{stem}.processor.{end}_lora.down.weight"] = down
        tensors[f"unet.{stem}.processor.{end}_lora.up.weight"] = up
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
    "diffusers": named(".lora.down.weight", ".lora.up.weight"),
    "processors": processors(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_merged_alike(tmp_path, form):
    write_tensors(tmp_path / "l.safetensors", FORMS[form], {})
    merged = merge_image_lora(UNET, tmp_path / "l.safetensors")
    layers = (QUERY, OUT) if form == "processors" else LAYERS
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
    from dataclasses import replace

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
    "DoRA": {**FORMS["kohya"], f"lora_unet_{PLACE}.dora_scale": torch.ones(64)},
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
