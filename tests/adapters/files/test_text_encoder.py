"""A CLIP text encoder in each layout: transformers' own numbers, or the layout's name."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from helpers.real_size import hollow
from helpers.small_files import error_of
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.files.text_encoder import refuse_other_clip, text_tensors
from still_moving.common.errors import UserError
from still_moving.training.text.clip import read_clip_text

WIDTH, TOKENS = 64, 20


def clip(width=WIDTH):
    """transformers' own, small: every name from "embeddings." on, less the position numbers."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=TOKENS, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=1, max_position_embeddings=10,
    )  # fmt: skip  # by kind, several a line
    model = CLIPTextModel(config)
    state = model.state_dict()
    return {k.removeprefix("text_model."): t for k, t in state.items() if "position_ids" not in k}


CLIP = clip()
IDS = {"embeddings.position_ids": torch.arange(10.0)[None]}  # older files have them, some as floats


def openai(tensors):
    """OpenAI's naming of the same, as open_clip has it (src/open_clip/transformer.py)."""
    named = {
        "token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        "positional_embedding": tensors["embeddings.position_embedding.weight"],
        "text_projection": torch.eye(WIDTH),
        "logit_scale": torch.ones(()),
        "ln_final.weight": tensors["final_layer_norm.weight"],
        "ln_final.bias": tensors["final_layer_norm.bias"],
    }
    inside = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1"}
    inside |= {"mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}
    for i in range(2):
        ours, theirs = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        for end in ("weight", "bias"):
            for a, b in inside.items():
                named[f"{theirs}.{a}.{end}"] = tensors[f"{ours}.{b}.{end}"]
            parts = [tensors[f"{ours}.self_attn.{p}_proj.{end}"] for p in "qkv"]
            named[f"{theirs}.attn.in_proj_{end}"] = torch.cat(parts)
    return named


def under(prefix, tensors=CLIP):
    return {prefix + name: tensor for name, tensor in tensors.items()}


UNET = {"model.diffusion_model.out.2.bias": torch.ones(4)}
OTHER = {"cond_stage_model.model.token_embedding.weight": torch.zeros(TOKENS, 1024)}
LAYOUTS = {
    "LDM": under("cond_stage_model.transformer.text_model.", CLIP | IDS) | UNET,
    "LDM, older": under("cond_stage_model.transformer.", CLIP) | UNET,
    "sgm": under("conditioner.embedders.0.transformer.text_model.") | UNET,
    "ComfyUI's CLIP": under("clip_l.transformer.text_model."),
    "ComfyUI's packed": under("text_encoders.clip_l.transformer.text_model."),
    "diffusers": under("text_model."),
    "diffusers, in one file": under("text_encoder.text_model."),
    "transformers' newer": under(""),
    "OpenAI": openai(CLIP),
    "OpenAI, in a checkpoint": under("cond_stage_model.model.", openai(CLIP)) | UNET,
    "beside another family's": under("conditioner.embedders.0.transformer.text_model.") | OTHER,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_clip_comes_out_of_every_layout(tmp_path, layout):
    write_tensors(tmp_path / "clip.safetensors", LAYOUTS[layout], {})
    encoder = read_clip_text(tmp_path / "clip.safetensors", None)
    own = encoder.state_dict()
    assert own.keys() == CLIP.keys()
    assert all(torch.equal(own[name], CLIP[name]) for name in CLIP)


def test_fp8_is_read_as_its_numbers(tmp_path):
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in CLIP.items()}
    write_tensors(tmp_path / "clip.safetensors", under("text_model.", small), {})
    own = read_clip_text(tmp_path / "clip.safetensors", None).state_dict()
    assert all(torch.equal(own[name], small[name].float()) for name in CLIP)


@pytest.mark.parametrize(
    ("width", "named"), [(1024, "SD2's text encoder"), (1280, "SDXL's second text encoder")]
)
def test_one_of_another_family_is_named(width, named):
    shapes = {"cond_stage_model.model.token_embedding.weight": (TOKENS, width)}
    with pytest.raises(UserError, match=rf"{named} \({width} wide\)"):
        text_tensors("sd2.safetensors", hollow(shapes))


def test_numbers_that_are_none_are_the_text_encoders(tmp_path):
    bad = {**CLIP, "final_layer_norm.bias": torch.full((WIDTH,), float("nan"))}
    write_tensors(tmp_path / "clip.safetensors", under("text_model.", bad), {})
    with pytest.raises(UserError, match=r"clip\.safetensors, its text encoder: found NaN"):
        read_clip_text(tmp_path / "clip.safetensors", None)


FIRST = "encoder.layers.0.mlp.fc1"
LAST = "encoder.layers.1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{FIRST}.weight": None}, "1 of 36 keys missing"),
        ({f"{FIRST}.bias": torch.ones(3)}, "wrong shapes"),
        ({"embeddings.position_embedding.weight": torch.ones(())}, "wrong shapes"),
        ({"encoder.layers.999999.mlp.fc1.weight": torch.ones(3)}, "1 unexpected keys"),
        ({f"encoder.layers.{'9' * 5000}.mlp.fc1.weight": torch.ones(3)}, "1 unexpected keys"),
        ({"head.weight": torch.ones(3)}, "SigLIP's text encoder"),
        ({"embeddings.token_embedding.weight": torch.ones(20, 63)}, "63 wide"),
        ({"final_layer_norm.bias": torch.ones(WIDTH).int()}, "torch.int32 in 1 tensors"),
    ],
)
def test_a_damaged_clip_is_refused_by_what_it_lacks(tmp_path, change, said):
    tensors = {k: t for k, t in (CLIP | change).items() if t is not None}
    write_tensors(tmp_path / "clip.safetensors", under("text_model.", tensors), {})
    with pytest.raises(UserError, match=r"clip\.safetensors, its text encoder: found ") as error:
        read_clip_text(tmp_path / "clip.safetensors", None)
    assert said in str(error.value)


@pytest.mark.parametrize("bad", [torch.ones(()), torch.ones(65, WIDTH)])
def test_openais_three_in_one_are_three(tmp_path, bad):
    tensors = openai(CLIP) | {"transformer.resblocks.0.attn.in_proj_weight": bad}
    write_tensors(tmp_path / "clip.safetensors", tensors, {})
    with pytest.raises(UserError, match=r"as 'transformer\.resblocks\.0\.attn\.in_proj_weight'"):
        read_clip_text(tmp_path / "clip.safetensors", None)


def test_a_clip_without_its_last_layers_is_read(tmp_path):
    """As ComfyUI saves one behind CLIP Set Last Layer."""
    fewer = {name: t for name, t in CLIP.items() if not name.startswith(LAST)}
    write_tensors(tmp_path / "clip.safetensors", under("text_model.", fewer), {})
    assert read_clip_text(tmp_path / "clip.safetensors", None).state_dict().keys() == fewer.keys()


@pytest.mark.parametrize(
    ("words", "places", "fits"),
    [(49408, 77, True), (49410, 248, True), (32000, 64, False), (49408, 64, False)],
)
def test_sd15s_own_clip_is_told_by_its_sizes(words, places, fits):
    """Sizes of CLIP-L, LongCLIP's and a tokenizer's with words added; of SigLIP's base."""
    shapes = {name: list(tensor.shape) for name, tensor in CLIP.items()}
    wide = {WIDTH: 768, 2 * WIDTH: 3072, TOKENS: words, 10: places}
    tensors = hollow({k: tuple(wide[n] for n in shape) for k, shape in shapes.items()})
    error = error_of(UserError, lambda: refuse_other_clip("clip", tensors))
    assert (error is None) == fits
