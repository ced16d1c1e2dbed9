"""Checkpoint files: SD1.5 and the shapes world read whole, relatives refused by name."""

import pytest
import torch

from helpers.real_size import hollow, motion_shapes, sd15_shapes, write_sd15
from helpers.small_files import PREFIX, UNET_SHAPES, random_tensors
from still_moving.adapters.files.checkpoint import read_unet, recognize
from still_moving.adapters.files.keys import SD15, UNetLayout
from still_moving.adapters.files.tensors import file_hash, write_tensors
from still_moving.adapters.files.unet_names import EMA_PREFIX, extract_unet
from still_moving.common.errors import UserError

UNET = sd15_shapes()
VAE = {f"first_stage_model.{name}": shape for name, shape in sd15_shapes("vae").items()}
CLIP = {f"cond_stage_model.transformer.{k}": shape for k, shape in sd15_shapes("clip").items()}
FULL = {PREFIX + name: shape for name, shape in UNET.items()} | VAE | CLIP


def averaged(shapes):
    """Names as LDM's moving average stores them: without dots inside."""
    return {f"{EMA_PREFIX}diffusion_model{name.replace('.', '')}": s for name, s in shapes.items()}


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_every_key_of_a_real_checkpoint_is_accounted_for():
    assert (len(UNET), len(VAE), len(CLIP)) == (686, 248, 197)
    unet, notes = extract_unet("sd.safetensors", hollow(FULL))
    assert notes == []
    assert shapes_of(unet) == UNET
    assert recognize("sd.safetensors", unet) == (SD15, "sd15")


def test_a_moving_average_is_used_only_when_there_is_nothing_else():
    counters = {"model_ema.decay": (), "model_ema.num_updates": ()}
    only, notes = extract_unet("ema.ckpt", hollow(averaged(UNET) | counters | VAE))
    assert shapes_of(only) == UNET
    assert recognize("ema.ckpt", only) == (SD15, "sd15")
    assert "moving average" in notes[0]
    full = hollow(FULL)
    both, notes = extract_unet("both.ckpt", full | hollow(averaged(UNET)))
    assert all(tensor is full[PREFIX + name] for name, tensor in both.items())
    assert notes == []
    with pytest.raises(UserError, match="no UNet"):
        extract_unet("few.ckpt", hollow(counters | VAE))


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_the_shapes_world_comes_back_with_its_hash(tmp_path, prefix):
    path = tmp_path / "base.safetensors"
    tensors = random_tensors(UNET_SHAPES)
    write_tensors(path, {prefix + name: tensor for name, tensor in tensors.items()}, {})
    unet = read_unet(path)
    assert (unet.base, unet.layout) == ("shapes", UNetLayout(2, 1, (True, True)))
    assert unet.tensors.keys() == tensors.keys()
    assert all(torch.equal(unet.tensors[name], tensors[name]) for name in tensors)
    assert (unet.hash, unet.name) == (file_hash(path), "base.safetensors")


def wider(shapes, context):
    ends = ("attn2.to_k.weight", "attn2.to_v.weight")
    return {name: (s[0], context) if name.endswith(ends) else s for name, s in shapes.items()}


SVD = {"input_blocks.1.1.time_stack.0.norm1.weight": (320,)}


@pytest.mark.parametrize(
    ("message", "shapes"),
    [
        ("SD2 checkpoint", wider(UNET, 1024)),
        ("SDXL checkpoint", wider(UNET, 2048) | {"label_emb.0.0.weight": (1280, 2816)}),
        ("SDXL checkpoint", UNET | {"label_emb.0.0.weight": (1280, 2816)}),
        ("SDXL refiner", wider(UNET, 1280)),
        ("Stable Video", wider(UNET, 1024) | SVD),
        ("inpainting", UNET | {"input_blocks.0.0.weight": (320, 9, 3, 3)}),
        ("InstructPix2Pix", UNET | {"input_blocks.0.0.weight": (320, 8, 3, 3)}),
        (r"found a checkpoint \(5 input", UNET | {"input_blocks.0.0.weight": (320, 5, 3, 3)}),
        ("128 channels", UNET | {"input_blocks.0.0.weight": (128, 4, 3, 3)}),
        ("1 of 686 keys missing", {k: s for k, s in UNET.items() if k != "out.2.bias"}),
        ("1 unexpected keys, first 'a'", UNET | {"a": (1,)}),
        ("1 wrong shapes, first 'out.2.bias' \\(5,\\)", UNET | {"out.2.bias": (5,)}),
    ],
)
def test_relatives_of_sd15_are_refused_by_name(message, shapes):
    with pytest.raises(UserError, match=message) as error:
        recognize("other.safetensors", hollow(shapes))
    assert "expected an SD1.5 checkpoint" in str(error.value)


@pytest.mark.parametrize(
    ("message", "shapes"),
    [
        ("LoRA for images", {"lora_unet_conv_in.lora_up.weight": (320, 4, 1, 1)}),
        ("a motion module", motion_shapes("v3")),
        ("a VAE", VAE),
        ("a VAE", sd15_shapes("vae")),
        ("text encoder", CLIP),
        ("Spatial Adapter", {"input_blocks.0.0.up": (320, 4), "input_blocks.0.0.down": (4, 320)}),
        ("textual-inversion embedding", {"emb_params": (2, 768)}),
        ("1 other tensors", {"what.ever": (2, 768)}),
    ],
)
def test_files_without_a_unet_are_refused_by_name(message, shapes):
    with pytest.raises(UserError, match=message):
        extract_unet("other.safetensors", hollow(shapes))


def test_a_diffusers_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="a folder"):
        read_unet(tmp_path)


@pytest.mark.parametrize(
    ("channels", "kind"),
    [(9, "an inpainting checkpoint"), (8, "an InstructPix2Pix checkpoint"), (12, "a checkpoint")],
)
def test_a_file_that_reads_more_than_latents_is_called_what_it_is(tmp_path, channels, kind):
    path = tmp_path / "more.safetensors"
    tensors = random_tensors(UNET_SHAPES | {"input_blocks.0.0.weight": (64, channels, 3, 3)})
    write_tensors(path, {PREFIX + name: tensor for name, tensor in tensors.items()}, {})
    with pytest.raises(UserError) as error:
        read_unet(path)
    message = str(error.value)
    assert f"more.safetensors: found {kind} ({channels} input channels)" in message
    assert "with 4 input channels" in message
    assert "damaged" not in message


def test_a_checkpoint_with_nan_is_refused(tmp_path):
    tensors = random_tensors(UNET_SHAPES)
    tensors["middle_block.1.norm.weight"][5] = float("nan")
    write_tensors(tmp_path / "nan.safetensors", tensors, {})
    with pytest.raises(UserError, match=r"NaN .* first 'middle_block.1.norm.weight'"):
        read_unet(tmp_path / "nan.safetensors")


@pytest.mark.slow
def test_the_helper_writes_files_that_other_readers_read(tmp_path):
    write_sd15(tmp_path / "clip.safetensors", seed=0, parts=("clip",))
    with pytest.raises(UserError, match="text encoder"):
        read_unet(tmp_path / "clip.safetensors")
