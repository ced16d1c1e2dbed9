"""Motion modules as trainers and other tools save them, and position tables of every sort."""

from typing import Any

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import save_file

from helpers.real_size import hollow, motion_shapes, sd15_shapes, sinusoid
from helpers.small_files import MODULE_SHAPES, SHAPES_LAYOUT, UNET_SHAPES, random_tensors
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.motion_module import read_motion_module, recognize, to_diffusers
from still_moving.adapters.files.templates import module_shapes
from still_moving.common.errors import UserError

MOTION = random_tensors(MODULE_SHAPES)
IMAGE = {SHAPES_LAYOUT.to_diffusers(name): t for name, t in random_tensors(UNET_SHAPES).items()}
TABLES = [name for name in MOTION if name.endswith(".pe")]


def read(tmp_path, tensors):
    save_file({k: t.contiguous().clone() for k, t in tensors.items()}, tmp_path / "mm.safetensors")
    return read_motion_module(tmp_path / "mm.safetensors")


def whole(module, expected=MOTION):
    assert module.tensors.keys() == expected.keys()
    assert all(torch.equal(module.tensors[name], expected[name]) for name in expected)


def test_the_official_trainers_checkpoint_gives_its_motion_layers(tmp_path):
    """guoyww/AnimateDiff, train.py: {"epoch", "global_step", "state_dict": unet.state_dict()} of a
    UNet in DistributedDataParallel.
    """
    state = {f"module.{name}": tensor for name, tensor in (IMAGE | MOTION).items()}
    torch.save({"epoch": 1, "global_step": 60, "state_dict": state}, tmp_path / "checkpoint.ckpt")
    module = read_motion_module(tmp_path / "checkpoint.ckpt")
    whole(module)
    assert module.notes == (f"{len(IMAGE)} tensors are left out: image layers.",)


def trained(version, tables=True):
    """Names and shapes of the official trainer's checkpoint of a real module."""
    image = {SD15.to_diffusers(name): shape for name, shape in sd15_shapes().items()}
    motion = motion_shapes(version)
    return image | {k: s for k, s in motion.items() if tables or not k.endswith(".pe")}


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_its_real_modules_are_what_they_are_alone(version):
    assert recognize("a.ckpt", hollow(trained(version))) == recognize(
        "a.ckpt", hollow(motion_shapes(version))
    )


def settings(rows, inflated):
    """As configs/training/v1/training.yaml has them; rows and inflated: None where it says none."""
    lines = ["unet_additional_kwargs:"]
    if inflated is not None:
        lines.append(f"  use_inflated_groupnorm         : {inflated}")
    lines += ["  motion_module_kwargs:", f"    temporal_position_encoding_max_len : {rows}"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("version", "config", "expected"),
    [
        ("v1", None, ("v1", 24, True)),
        ("v1", settings(24, None), ("v1", 24, True)),
        ("v1", settings(32, "false"), ("v1", 32, True)),
        ("v3", settings(32, "true"), ("v3", 32, False)),
        ("v3", settings(24, "True"), ("v3", 24, False)),
        ("v2", None, ("v2", 32, False)),
        ("v2", settings(48, "true"), ("v2", 48, False)),
    ],
)
def test_without_tables_the_trainers_settings_tell(tmp_path, version, config, expected):
    """Since it registers them with persistent=False, its checkpoints have no position tables."""
    (tmp_path / "checkpoints").mkdir()
    if config:
        (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    path = tmp_path / "checkpoints" / "checkpoint.ckpt"
    info = recognize(path, hollow(trained(version, tables=False)))
    assert (info.version, info.max_frames, info.norm_across_frames) == expected


def test_a_guess_is_said(tmp_path):
    kept = {k: t for k, t in (IMAGE | MOTION).items() if not k.endswith(".pe")}
    module = read(tmp_path, kept)
    assert "does not say how long" in module.notes[-1]


def test_a_whole_unet_of_diffusers_gives_its_motion_layers(tmp_path):
    """By diffusers' own class and its own loading code."""
    torch.manual_seed(0)
    image = UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 64), layers_per_block=1, cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8,
    )  # fmt: skip  # by kind, several a line
    adapter = MotionAdapter(
        block_out_channels=(64, 64), motion_layers_per_block=1, motion_max_seq_length=8,
        motion_mid_block_layers_per_block=1,
    )  # fmt: skip  # by kind, several a line
    made: Any = UNetMotionModel.from_unet2d(image, adapter)
    made.save_pretrained(tmp_path / "unet")
    module = read_motion_module(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    expected = adapter.state_dict()
    assert to_diffusers(module.tensors).keys() == expected.keys()
    for name, tensor in to_diffusers(module.tensors).items():
        assert torch.equal(tensor, expected[name])
    assert "image layers" in module.notes[0]


@pytest.mark.parametrize("prefix", ["unet.", "motion_module.", "module.", "model.diffusion_model."])
@pytest.mark.parametrize("naming", ["AnimateDiff", "diffusers"])
def test_any_prefix_comes_off(tmp_path, prefix, naming):
    tensors = MOTION if naming == "AnimateDiff" else to_diffusers(MOTION)
    whole(read(tmp_path, {prefix + name: tensor for name, tensor in tensors.items()}))


PLACE = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0"
BESIDE = {
    # hehao13/CameraCtrl: pose_encoder_state_dict, attention_processor_state_dict (qkv_merge).
    "CameraCtrl": {"pose_encoder.encoder_conv_in.weight": torch.ones(4, 6, 3, 3)},
    "CameraCtrl ": {f"{PLACE}.attention_blocks.0.processor.qkv_merge.weight": torch.ones(4, 4)},
    # TencentARC/MotionCtrl: cc_projection in each temporal block.
    "MotionCtrl": {f"{PLACE}.cc_projection.weight": torch.ones(4, 4)},
    "settings": {"animatediff.scale": torch.ones(1), "global_step": torch.ones(1)},
    "pipeline": {"vae.decoder.conv_in.bias": torch.ones(4)},
}


@pytest.mark.parametrize("what", BESIDE)
def test_known_extras_are_left_out_and_named(tmp_path, what):
    module = read(tmp_path, MOTION | BESIDE[what])
    whole(module)
    (note,) = module.notes
    assert what.strip() in note


@pytest.mark.parametrize("name", [f"{PLACE}.attn3.to_q.weight", "something.else", "proj.weight"])
def test_unknown_extras_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"1 unexpected keys, first '{name}'"):
        read(tmp_path, MOTION | {name: torch.ones(2)})


# ---------------------------------------------------------------------------- position tables
def with_tables(make, frames=8):
    shapes = module_shapes((64, 64), 1, True, frames)
    tensors = random_tensors(shapes)
    return tensors | {name: make(sinusoid(frames, 64)) for name in TABLES}


@pytest.mark.parametrize("frames", [1, 16, 24, 32, 64, 100])
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float8_e4m3fn]
)
def test_rounded_sinusoids_of_any_length_are_the_plain_ones(tmp_path, frames, dtype):
    module = read(tmp_path, with_tables(lambda table: table.to(dtype), frames))
    assert module.info.max_frames == frames
    assert not module.info.own_positions


@pytest.mark.parametrize(
    "make",
    [
        lambda table: 0.9 * table,
        lambda table: torch.randn(table.shape, generator=torch.Generator().manual_seed(1)),
        lambda table: table.roll(1, dims=1),
        lambda table: torch.zeros_like(table),
    ],
    ids=["scaled", "learned", "shifted", "none"],
)
def test_other_tables_are_the_files_own(tmp_path, make):
    assert read(tmp_path, with_tables(make)).info.own_positions


def test_tables_of_two_lengths_are_refused(tmp_path):
    tensors = dict(MOTION)
    tensors[TABLES[-1]] = sinusoid(9, 64)
    with pytest.raises(UserError, match="1 wrong shapes"):
        read(tmp_path, tensors)


def test_pia_is_named_under_any_prefix():
    shapes = motion_shapes("v2") | {"conv_in.weight": (320, 9, 3, 3), "conv_in.bias": (320,)}
    with pytest.raises(UserError, match="PIA"):
        recognize("pia.ckpt", hollow({f"unet.{name}": shape for name, shape in shapes.items()}))
