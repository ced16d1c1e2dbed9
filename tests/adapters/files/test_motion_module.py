"""Motion-module files: each kind recognised, each other kind refused by its name."""

import json

import pytest
import torch
from diffusers import MotionAdapter

from helpers.real_size import hollow, motion_shapes, sd15_shapes, write_motion_module
from helpers.small_files import MODULE_SHAPES, random_tensors
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.motion_module import (
    MotionModuleInfo,
    read_motion_module,
    recognize,
    to_diffusers,
)
from still_moving.adapters.files.templates import module_shapes
from still_moving.adapters.files.tensors import file_hash, write_tensors
from still_moving.common.errors import UserError

CHANNELS = (320, 640, 1280, 1280)
P = "down_blocks.0.motion_modules.0.temporal_transformer"
UNMERGED = ("base_layer", "lora_A.default", "lora_B.default")  # of peft


@pytest.mark.parametrize(
    "info",
    [
        MotionModuleInfo("v1", CHANNELS, False, 24, True),
        MotionModuleInfo("v2", CHANNELS, True, 32, False),
        MotionModuleInfo("v3", CHANNELS, False, 32, False),
        MotionModuleInfo("AnimateLCM", CHANNELS, True, 64, False),
    ],
    ids=lambda info: info.version,
)
def test_real_modules_are_recognised_and_every_key_accounted_for(info):
    shapes = motion_shapes(info.version)
    assert recognize("mm.ckpt", hollow(shapes)) == info
    frames = None if info.version == "AnimateLCM" else info.max_frames
    assert module_shapes(CHANNELS, 2, info.has_mid_block, frames) == shapes


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_diffusers_files_are_recognised_as_the_same_module(version):
    info = recognize("mm", hollow(motion_shapes(version)))
    with torch.device("meta"):
        model = MotionAdapter(
            use_motion_mid_block=info.has_mid_block, motion_max_seq_length=info.max_frames
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert recognize("mm.safetensors", hollow(shapes)) == info


def test_the_shapes_module_comes_back_from_both_namings(tmp_path):
    tensors = random_tensors(MODULE_SHAPES)
    tensors = {name: tensor.half() for name, tensor in tensors.items()}
    write_tensors(tmp_path / "ad.safetensors", tensors, {})
    write_tensors(tmp_path / "df.safetensors", to_diffusers(tensors), {})
    for name in ("ad.safetensors", "df.safetensors"):
        module = read_motion_module(tmp_path / name)
        assert module.info == MotionModuleInfo("shapes", (64, 64), True, 8, False)
        assert module.tensors.keys() == tensors.keys()
        assert all(torch.equal(module.tensors[name], tensors[name]) for name in tensors)
        assert all(tensor.dtype == torch.float16 for tensor in module.tensors.values())
        assert module.name == name
        assert module.hash == file_hash(tmp_path / name)


def test_diffusers_can_load_what_we_rename(tmp_path):
    tensors = random_tensors(MODULE_SHAPES)
    adapter = MotionAdapter(
        block_out_channels=(64, 64),
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_max_seq_length=8,
    )
    adapter.load_state_dict(to_diffusers(tensors), strict=True)


def test_a_diffusers_file_without_positions_takes_its_limit_from_its_config(tmp_path):
    shapes = {k: s for k, s in motion_shapes("v2").items() if not k.endswith(".pe")}
    renamed = to_diffusers(hollow(shapes))
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    assert recognize(path, renamed) == MotionModuleInfo("v2", CHANNELS, True, 32, False)
    (tmp_path / "config.json").write_text(
        json.dumps({"motion_max_seq_length": 48}), encoding="utf-8"
    )
    assert recognize(path, renamed).max_frames == 48
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    assert recognize(path, renamed).max_frames == 32


def other_files():
    """(what the file is, words the error must have, names and shapes)."""
    v2, v3 = motion_shapes("v2"), motion_shapes("v3")
    lcm = motion_shapes("AnimateLCM")
    unet = sd15_shapes()
    sdxl = {k: s for k, s in v3.items() if "_blocks.3." not in k and "motion_modules.2" not in k}
    sdxl |= {k.replace("motion_modules.1", "motion_modules.2"): s for k, s in sdxl.items()}
    hotshot = {
        k.replace("motion_modules", "temporal_attentions")
        .replace("temporal_transformer.", "")
        .replace("pos_encoder.pe", "pos_encoder.positional_encoding"): s
        for k, s in sdxl.items()
    }
    attention = f"{P}.transformer_blocks.0.attention_blocks.0"
    diffusers = {name: tuple(t.shape) for name, t in to_diffusers(hollow(v2)).items()}
    renamed = {SD15.to_diffusers(name): shape for name, shape in unet.items()}
    return [
        ("SDXL beta", "SDXL motion module", sdxl),
        ("HotShotXL", "HotShotXL", hotshot),
        ("PIA", "PIA", v2 | {"conv_in.weight": (320, 9, 3, 3), "conv_in.bias": (320,)}),
        ("FancyVideo", "FancyVideo", v2 | {"fps_embedding.linear.weight": (1280, 320)}),
        ("LCM-I2V", "I2V", lcm | {"img_encoder.conv_in.weight": (64, 4, 3, 3)}),
        ("HelloMeme", "HelloMeme", diffusers | {"down_blocks.0.motion_modules.0.refer.a": (320,)}),
        ("SparseCtrl", "ControlNet", v3 | {"controlnet_cond_embedding.weight": (320, 4, 3, 3)}),
        ("motion LoRA", "motion LoRA", {f"{attention}.processor.to_q_lora.up.weight": (320, 4)}),
        ("motion peft", "motion LoRA", {"unet.mid_block.motion_modules.0.x.lora_A.weight": (4, 4)}),
        ("image LoRA", "LoRA for images", {"lora_unet_conv_in.lora_up.weight": (320, 4, 1, 1)}),
        ("Spatial Adapter", "Spatial Adapter", {"input_blocks.0.0.down": (4, 320)}),
        ("Control-LoRA", "Control-LoRA", {"lora_controlnet": (), "input_blocks.0.0.down": (4, 4)}),
        ("unmerged", "not merged", {f"a.to_q.{part}.weight": (4, 4) for part in UNMERGED}),
        ("checkpoint", "checkpoint", {f"model.diffusion_model.{k}": s for k, s in unet.items()}),
        ("UNet", "image UNet", unet),
        ("diffusers UNet", "image UNet", renamed),
        ("VAE", "a VAE", sd15_shapes("vae")),
        ("CLIP", "text encoder", sd15_shapes("clip")),
        ("something", "3 other tensors, first 'a'", {"a": (1,), "b": (2,), "c": (3,)}),
    ]


@pytest.mark.parametrize(
    ("message", "shapes"), [pytest.param(*c[1:], id=c[0]) for c in other_files()]
)
def test_other_files_are_refused_by_name(message, shapes):
    with pytest.raises(UserError, match=message) as error:
        recognize("folder/wrong.ckpt", hollow(shapes))
    assert "folder/wrong.ckpt" in str(error.value).replace("\\", "/")
    assert error.value.next_move.endswith(".")


def damaged(change):
    shapes = motion_shapes("v2")
    change(shapes)
    with pytest.raises(UserError) as error:
        recognize("mm.ckpt", hollow(shapes))
    return str(error.value)


def test_keys_that_do_not_fit_are_counted_and_the_first_is_named():
    missing = damaged(lambda shapes: [shapes.pop(f"{P}.{x}.bias") for x in ("norm", "proj_in")])
    assert "2 of 588 keys missing" in missing
    assert f"{P}.proj_in.bias" in missing or f"{P}.norm.bias" in missing
    extra = damaged(lambda shapes: shapes.update({f"{P}.extra": (3,)}))
    assert f"1 unexpected keys, first '{P}.extra'" in extra
    wrong = damaged(lambda shapes: shapes.update({f"{P}.proj_in.weight": (320, 321)}))
    assert "(320, 321), expected" in wrong
    assert "(320, 320)" in wrong


@pytest.mark.slow
def test_a_real_size_file_comes_back_whole(tmp_path):
    path = tmp_path / "mm_sd_v15_v2.safetensors"
    write_motion_module(path, "v2", seed=3)
    module = read_motion_module(path)
    assert module.info == MotionModuleInfo("v2", CHANNELS, True, 32, False)
    assert {name: tuple(t.shape) for name, t in module.tensors.items()} == motion_shapes("v2")
    for name, tensor in module.tensors.items():
        assert tensor.dtype == (torch.float32 if name.endswith(".pe") else torch.float16)
