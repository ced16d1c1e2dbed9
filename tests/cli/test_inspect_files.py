"""``inspect`` names the files of other tools: LoRAs of every form, embeddings, what they lack."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.small import main
from helpers.small_files import motion_layers, shapes_unet, spatial_adapter
from still_moving.adapters.files.embedding import Embedding, save_embedding
from still_moving.adapters.files.spatial_lora import export_lora
from still_moving.adapters.files.tensors import write_tensors

TO_Q = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
ROWS, WIDER = torch.ones(3, 768), torch.ones(3, 1280)
PAIR = {"lora_up.weight": torch.ones(64, 2), "lora_down.weight": torch.ones(2, 64)}


def inspected(*paths: Any) -> list[dict]:
    code, out = main("inspect", "--json", *paths)
    assert code == 0, out
    return [json.loads(line) for line in out.splitlines()]


def test_our_own_exported_lora(tmp_path):
    export_lora(spatial_adapter(), shapes_unet(), tmp_path / "mine.safetensors")
    (facts,) = inspected(tmp_path / "mine.safetensors")
    assert facts["is"] == "image LoRA (exported from a spatial adapter)"
    assert (facts["layers"], facts["rank"], facts["form"]) == (8, 4, "LoRA")


def parts(name: str, *ends: str) -> dict[str, Tensor]:
    return {f"{name}.{end}": torch.ones(2, 2) for end in ends}


HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
LORAS = {
    "LoRA": {f"lora_unet_{TO_Q}.{part}": tensor for part, tensor in PAIR.items()},
    "LoHa": parts(f"lora_unet_{TO_Q}", *HADA),
    "LoKr": parts(f"lycoris_{TO_Q}", "lokr_w1", "lokr_w2"),
    "DoRA": {f"lora_unet_{TO_Q}.{part}": tensor for part, tensor in PAIR.items()}
    | parts(f"lora_unet_{TO_Q}", "dora_scale"),
    "full difference": parts(f"diffusion_model.{TO_Q}", "diff"),
}


@pytest.mark.parametrize("form", LORAS)
def test_loras_for_images(tmp_path, form):
    write_tensors(tmp_path / "a.safetensors", LORAS[form], {})
    (facts,) = inspected(tmp_path / "a.safetensors")
    assert (facts["is"], facts["form"]) == ("image LoRA", form)
    assert facts["for"].startswith("SD1.5")


def test_loras_of_other_models_and_of_text_encoders(tmp_path):
    flux = "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"
    pair = {flux: torch.ones(2, 9), flux.replace("_A", "_B"): torch.ones(9, 2)}
    write_tensors(tmp_path / "flux.safetensors", pair, {})
    text = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(2, 2)}
    write_tensors(tmp_path / "text.safetensors", text, {})
    facts = inspected(tmp_path / "flux.safetensors", tmp_path / "text.safetensors")
    assert facts[0]["for"].startswith("another model than SD1.5")
    assert facts[1]["is"] == "LoRA for a text encoder"


MOTION = motion_layers()[0]
FORMS = {
    "LoHa": {f"{MOTION}.{end}": torch.ones(2, 2) for end in HADA},
    "LoKr": parts(MOTION, "lokr_w1", "lokr_w2"),
    "DoRA": {f"{MOTION}.{part}": tensor for part, tensor in PAIR.items()}
    | {f"{MOTION}.dora_scale": torch.ones(64, 1)},
    "LoRA with biases": {f"{MOTION}.{part}": tensor for part, tensor in PAIR.items()}
    | {f"{MOTION}.lora_B.bias": torch.ones(64)},
}


@pytest.mark.parametrize("form", FORMS)
def test_motion_loras(tmp_path, form):
    write_tensors(tmp_path / "a.safetensors", FORMS[form], {})
    (facts,) = inspected(tmp_path / "a.safetensors")
    assert (facts["is"], facts["form"], facts["layers"]) == ("motion adapter", form, 1)


def test_what_is_left_out_is_said(tmp_path):
    both = LORAS["LoRA"] | {f"{MOTION}.{part}": tensor for part, tensor in PAIR.items()}
    write_tensors(tmp_path / "a.safetensors", both, {})
    (facts,) = inspected(tmp_path / "a.safetensors")
    assert "2 tensors of image layers" in facts["note"]


OTHERS = {
    "AdaLoRA": {f"{MOTION}.lora_{part}": torch.ones(2, 2) for part in "ABE"},
    "OFT": {f"{MOTION}.oft_blocks": torch.ones(2, 2, 2)},
    "VeRA": {f"base_model.model.{MOTION}.vera_lambda_b": torch.ones(2)},
    "IA3": {f"{MOTION}.ia3_l": torch.ones(2, 1)},
    "without the names of its layers": [torch.ones(2, 2), torch.ones(2, 2)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_adapters_are_refused_by_name(tmp_path, name, capsys):
    torch.save(OTHERS[name], tmp_path / "a.pt")
    assert main("inspect", tmp_path / "a.pt")[0] == 2
    said = capsys.readouterr().err
    assert name in said
    assert "found a motion module" not in said
    assert "damaged" not in said


EMBEDDINGS: dict[str, Any] = {
    "AUTOMATIC1111 (string_to_param)": {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": {"*": torch.nn.Parameter(ROWS)},
        "name": "cat", "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": None,
    },
    "diffusers (one tensor a word)": {"<cat-toy>": ROWS[0]},
    "emb_params (kohya, AUTOMATIC1111)": {"emb_params": ROWS},
    "one part a text encoder (clip_l, clip_g)": {"clip_l": ROWS, "clip_g": WIDER},
}  # fmt: skip  # what a .pt of AUTOMATIC1111 holds, in a line


@pytest.mark.parametrize("form", EMBEDDINGS)
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_embeddings(tmp_path, form, ending):
    content, path = EMBEDDINGS[form], tmp_path / f"a{ending}"
    if ending == ".pt":
        torch.save(content, path)
    elif "string_to_param" in content:
        pytest.skip("AUTOMATIC1111 writes this form as .pt alone")
    else:
        write_tensors(path, content, {})
    (facts,) = inspected(path)
    assert (facts["is"], facts["form"]) == ("embedding", form)
    assert facts["width"] == 768
    assert facts["for"] == ("SDXL" if "clip_g" in content else "SD1.5")
    if "<cat-toy>" in content:
        assert (facts["tokens"], facts["words"]) == (1, "<cat-toy>")


def test_lists_of_embeddings_and_our_own(tmp_path):
    torch.save([{"<a>": ROWS[0]}, {"<b>": ROWS[0]}], tmp_path / "list.bin")
    save_embedding(tmp_path / "ours.safetensors", Embedding(ROWS, ("a", "dog", "x")))
    listed, ours = inspected(tmp_path / "list.bin", tmp_path / "ours.safetensors")
    assert listed["words"] == "<a> <b>"
    assert (ours["tokens"], ours["words"]) == (3, "a dog x")
