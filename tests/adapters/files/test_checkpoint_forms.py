"""An SD UNet in every prefix, naming and precision: the same numbers, or its true name."""

import json

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file

from helpers.real_size import hollow, sd15_shapes
from helpers.small_files import PREFIX, SHAPES_LAYOUT, UNET_SHAPES, random_tensors
from still_moving.adapters.files.checkpoint import read_unet, recognize
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.prediction import Prediction
from still_moving.adapters.files.unet_names import extract_unet
from still_moving.common.errors import UserError

TENSORS = random_tensors(UNET_SHAPES)
TABLES = {"betas": torch.ones(1000), "alphas_cumprod": torch.ones(1000), "logvar": torch.ones(1)}
REST = {"first_stage_model.decoder.conv_in.bias": torch.ones(4), **TABLES}


def read(tmp_path, tensors, metadata=None, name="a.safetensors"):
    save_file({k: t.contiguous().clone() for k, t in tensors.items()}, tmp_path / name, metadata)
    return read_unet(tmp_path / name)


def prefixed(prefix, tensors=None):
    return {prefix + name: tensor for name, tensor in (tensors or TENSORS).items()}


def diffusers_names(prefix=""):
    return {prefix + SHAPES_LAYOUT.to_diffusers(name): t for name, t in TENSORS.items()}


FORMS = {
    "LDM": prefixed(PREFIX) | REST,
    "ComfyUI's network": prefixed("diffusion_model.") | {"model_sampling.sigmas": torch.ones(9)},
    "twice a model": prefixed("model.model.diffusion_model.") | REST,
    "model": prefixed("model."),
    "unet": prefixed("unet."),
    "net": prefixed("net."),
    "another": prefixed("generator.net."),
    "compiled": prefixed("model.diffusion_model._orig_mod.") | REST,
    "parallel": prefixed("module.model.diffusion_model."),
    "alone": TENSORS | TABLES,
    "beside an average": prefixed(PREFIX) | prefixed("ema.", {"x": torch.ones(1)}),
    "beside an averaged UNet": prefixed(PREFIX)
    | prefixed("model_ema.diffusion_model.", {k: 2 * t for k, t in TENSORS.items()}),
    "with a ControlNet": prefixed(PREFIX) | prefixed("control_model."),
    "diffusers": diffusers_names(),
    "diffusers, unet": diffusers_names("unet.") | {"vae.decoder.conv_in.bias": torch.ones(4)},
    "diffusers, compiled": diffusers_names("_orig_mod."),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_unet_comes_out_of_every_form(tmp_path, form):
    unet = read(tmp_path, FORMS[form])
    assert unet.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(unet.tensors[name], TENSORS[name]) for name in TENSORS)
    assert (unet.base, unet.prediction, unet.notes) == ("shapes", None, ())


@pytest.mark.parametrize("prefix", ["ema.", "unet_ema.", "ema_model.diffusion_model."])
def test_an_average_alone_is_used_and_said(tmp_path, prefix):
    unet = read(tmp_path, prefixed(prefix))
    assert all(torch.equal(unet.tensors[name], TENSORS[name]) for name in TENSORS)
    (note,) = unet.notes
    assert "moving average" in note
    assert prefix in note


def test_two_unets_are_not_chosen_between(tmp_path):
    with pytest.raises(UserError, match=r"2 UNets, under 'student\.' and 'teacher\.'"):
        read(tmp_path, prefixed("student.") | prefixed("teacher."))


def test_a_unet_that_diffusers_saved_is_read(tmp_path):
    """By diffusers' own class; the values by its own loading code."""
    torch.manual_seed(0)
    made = UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 64), layers_per_block=1, cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8,
    )  # fmt: skip  # by kind, several a line
    made.save_pretrained(tmp_path / "unet")
    DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True).save_pretrained(
        tmp_path / "scheduler"
    )
    unet = read_unet(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    loaded = UNet2DConditionModel.from_pretrained(tmp_path / "unet").state_dict()
    assert {SHAPES_LAYOUT.to_diffusers(name) for name in unet.tensors} == loaded.keys()
    for name, tensor in unet.tensors.items():
        assert torch.equal(tensor, loaded[SHAPES_LAYOUT.to_diffusers(name)])
    assert unet.prediction == Prediction("v_prediction", True)


def test_every_key_of_sd15_is_found_in_diffusers_naming():
    shapes = {SD15.to_diffusers(name): shape for name, shape in sd15_shapes().items()}
    unet, _ = extract_unet("sd.safetensors", hollow(shapes))
    assert recognize("sd.safetensors", unet) == (SD15, "sd15")


def test_the_official_trainers_unet_is_read_without_its_motion_layers(tmp_path):
    motion = {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": torch.ones(64)}
    unet = read(tmp_path, diffusers_names() | motion)
    assert unet.tensors.keys() == TENSORS.keys()
    assert "1 tensors of motion layers are left out" in unet.notes[0]


# ---------------------------------------------------------------------------- 8 bits
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_is_widened_exactly(tmp_path, dtype):
    small = {name: tensor.to(dtype) for name, tensor in TENSORS.items()}
    unet = read(tmp_path, prefixed(PREFIX, small))
    for name, tensor in unet.tensors.items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor.float(), small[name].float())


SCALES = {
    "older": ("scale_weight", {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}),
    "newer": ("weight_scale", {}),
}


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("naming", ["ldm", "diffusers"])
def test_scaled_fp8_is_what_its_scales_say(tmp_path, scales, naming):
    """As comfy/utils.py: convert_old_quants reads it, and comfy_quant's float8_e4m3fn."""
    end, more = SCALES[scales]
    layer = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    name = layer if naming == "ldm" else SHAPES_LAYOUT.to_diffusers(layer)
    tensors = dict(TENSORS) if naming == "ldm" else diffusers_names()
    scale, full = torch.tensor(0.0123), 40 * TENSORS[f"{layer}.weight"]
    tensors[f"{name}.weight"] = (full / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    tensors[f"{name}.{end}"] = scale
    tensors[f"{name}.input_scale"] = torch.tensor(1.0)
    settings = json.dumps({"format": "float8_e4m3fn"}).encode()
    tensors[f"{name}.comfy_quant"] = torch.tensor(list(settings), dtype=torch.uint8)
    prefix = PREFIX if naming == "ldm" else ""
    unet = read(tmp_path, prefixed(prefix, tensors | more))
    assert unet.tensors.keys() == TENSORS.keys()
    expected = tensors[f"{name}.weight"].float() * scale
    assert torch.equal(unet.tensors[f"{layer}.weight"].float(), expected)


QUANTIZED = {
    "bitsandbytes": {"out.2.weight.absmax": torch.ones(4)},
    "8 bits of integers": {"out.2.weight": torch.zeros(4, 64, 3, 3, dtype=torch.int8)},
    "rows": {"out.2.weight_scale": torch.ones(4, 1)},
    "nvfp4": {"out.2.weight_scale_2": torch.ones(1)},
    "ComfyUI's other forms": {
        "out.2.comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}')).byte()
    },
}


@pytest.mark.parametrize("change", QUANTIZED.values(), ids=QUANTIZED)
def test_other_quantized_forms_are_named(tmp_path, change):
    with pytest.raises(UserError, match="a quantized checkpoint") as error:
        read(tmp_path, prefixed(PREFIX, TENSORS | change))
    assert "damaged" not in str(error.value)


# ---------------------------------------------------------------------------- relatives
def without(*blocks):
    return {n: s for n, s in sd15_shapes().items() if not n.startswith(blocks)}


@pytest.mark.parametrize(
    ("named", "shapes"),
    [
        ("GLIGEN", {"input_blocks.1.1.transformer_blocks.0.fuser.alpha_attn": ()}),
        ("reads its guidance", {"time_embed.cond_proj.weight": (320, 256)}),
        ("ModelScope", {"input_blocks.1.1.temopral_conv.conv1.0.weight": (320,)}),
        ("IP-Adapter", {"input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight": (320, 768)}),
        ("distilled", None),
    ],
)
def test_what_was_made_from_sd15_and_is_no_more_is_named(named, shapes):
    shapes = without("middle_block.") if shapes is None else sd15_shapes() | shapes
    with pytest.raises(UserError, match=named) as error:
        recognize("a.safetensors", hollow(shapes))
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("layer", ["double_blocks.0.img_attn.qkv", "joint_blocks.0.x_block.attn"])
def test_another_kind_of_network_is_named_by_its_layers(layer):
    with pytest.raises(UserError, match=rf"another kind of network \({layer.split('.')[0]}\)"):
        extract_unet("flux.safetensors", hollow({f"{PREFIX}{layer}.weight": (9, 3)}))


# ---------------------------------------------------------------------------- what is predicted
V, V_TO_ZERO, EPSILON = Prediction("v_prediction"), Prediction("v_prediction", True), Prediction()
MARK = torch.empty(0)


@pytest.mark.parametrize(
    ("marks", "metadata", "said"),
    [
        ({}, {}, None),
        ({"v_pred": MARK}, {}, V),
        ({f"{PREFIX}v_pred": MARK}, {}, V),
        ({"v_pred": MARK, "ztsnr": MARK}, {}, V_TO_ZERO),
        ({}, {"modelspec.prediction_type": "v"}, V),
        ({}, {"modelspec.prediction_type": "epsilon"}, EPSILON),
    ],
)
def test_a_checkpoint_says_what_it_predicts(tmp_path, marks, metadata, said):
    unet = read(tmp_path, prefixed(PREFIX) | marks, metadata)
    assert unet.prediction == said
    assert unet.tensors.keys() == TENSORS.keys()


@pytest.mark.parametrize(
    ("line", "said"), [('"v"', V), ("v", V), ("v # SD2's", V), ('"eps"', EPSILON), ("velvet", None)]
)
def test_a_yaml_beside_it_says_it_too(tmp_path, line, said):
    """As LDM's configurations have it (v2-inference-v.yaml: model.params.parameterization)."""
    text = f"model:\n  params:\n    parameterization: {line}\n    linear_start: 0.00085\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert read(tmp_path, prefixed(PREFIX)).prediction == said


@pytest.mark.parametrize("gone", ["input_blocks.", "out."])
def test_a_part_of_several_is_no_distilled_one(gone):
    half = {name: t for name, t in hollow(UNET_SHAPES).items() if not name.startswith(gone)}
    with pytest.raises(UserError, match="one part of a model in several files"):
        recognize("model-00001-of-00002.safetensors", half)
