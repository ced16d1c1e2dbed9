"""Files of other tools in ComfyUI: each form does what its own loader, or peft, does with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.lora
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from helpers.host import world
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.image_lora import merge_image_lora
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.host import hooks
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import required_motion_patcher
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.common.errors import UserError
from still_moving.nodes.apply.motion import ApplyMotionAdapter
from still_moving.nodes.shared import folders, notices
from still_moving.worlds.shapes.files import BASE, WEIGHTS

pytestmark = pytest.mark.every_comfyui
SMALL = 0.05


def noise(*shape: int, seed: int = 0) -> Tensor:
    return SMALL * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def linear_forms(out: int, inside: int) -> dict[str, dict[str, Tensor]]:
    """Parts of one layer in each form that ComfyUI's comfy/weight_adapter reads."""
    half = {"hada_w1_a": noise(out, 3), "hada_w1_b": 20 * noise(3, inside)}
    other = {"hada_w2_a": noise(out, 3, seed=1), "hada_w2_b": 20 * noise(3, inside, seed=1)}
    alpha = {"alpha": torch.tensor(1.5)}
    lora = {"lora_up.weight": noise(out, 3), "lora_down.weight": noise(3, inside)}
    pairs = {"lokr_w2_a": noise(out // 4, 3), "lokr_w2_b": noise(3, inside // 8)}
    whole = {"lokr_w1": noise(4, 8), "lokr_w2": noise(out // 4, inside // 8)}
    return {
        "LoRA": {**lora, **alpha},
        "LoHa": {**half, **other, **alpha},
        "LoKr": {"lokr_w1": noise(4, 8), **pairs, **alpha},
        "LoKr of two": {"lokr_w1_a": noise(4, 3), "lokr_w1_b": noise(3, 8), **pairs, **alpha},
        "LoKr, whole": {**whole, **alpha},
        "difference": {"diff": noise(out, inside)},
        "DoRA by column": {**lora, **alpha, "dora_scale": 1 + noise(1, inside)},
    }


def conv_forms(out: int, inside: int) -> dict[str, dict[str, Tensor]]:
    down, mid = noise(3, inside, 1, 1), noise(3, 3, 3, 3)
    hada = {
        f"hada_{name}": noise(*shape, seed=i)
        for i in (1, 2)
        for name, shape in {
            f"t{i}": (3, 3, 3, 3), f"w{i}_a": (3, out), f"w{i}_b": (3, inside)
        }.items()
    }  # fmt: skip  # the three parts of each half
    up = noise(out, 3, 1, 1)
    return {
        "LoCon": {"lora_up.weight": up, "lora_down.weight": noise(3, inside, 3, 3)},
        "LoCon's middle": {"lora_up.weight": up, "lora_down.weight": down, "lora_mid.weight": mid},
        "LoHa, Tucker": hada,
        "LoKr, flat": {"lokr_w1": noise(4, 8), "lokr_w2_a": noise(out // 4, 3),
                       "lokr_w2_b": noise(3, inside // 8 * 9)},
        "difference": {"diff": noise(out, inside, 3, 3), "diff_b": noise(out)},
        "whole weight": {"set_weight": noise(out, inside, 3, 3)},
        "DoRA by column": {"lora_up.weight": up, "lora_down.weight": noise(3, inside, 3, 3),
                           "dora_scale": 1 + noise(1, inside, 1, 1)},
    }  # fmt: skip  # a form a line


LINEAR, CONV, NORM = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.norm1",
)
IMAGE = (
    {f"linear, {form}": (LINEAR, parts) for form, parts in linear_forms(64, 64).items()}
    | {f"conv, {form}": (CONV, parts) for form, parts in conv_forms(64, 64).items()}
    | {"norm": (NORM, {"w_norm": noise(64), "b_norm": noise(64, seed=1)})}
)


def by_core(model: Any, patcher: Any, tensors: dict[str, Tensor], names: dict) -> dict[str, Tensor]:
    """The weights that ComfyUI's own code makes of a file, by key."""
    patches = comfy.lora.load_lora(dict(tensors), names)
    assert patches
    weights = model.state_dict()
    return {
        key: comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weights[key].clone(), key)
        for key, patch in patches.items()
    }


@pytest.mark.parametrize("case", IMAGE)
@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_"])
def test_an_image_lora_is_merged_as_comfyui_merges_it(tmp_path, case, prefix):
    layer, parts = IMAGE[case]
    tensors = {f"{prefix}{layer.replace('.', '_')}.{part}": t for part, t in parts.items()}
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    unet, model = read_unet(WEIGHTS / BASE), world.plain().model
    unet = replace(unet, tensors={name: tensor.float() for name, tensor in unet.tensors.items()})
    merged = merge_image_lora(unet, tmp_path / "a.safetensors").tensors
    names = comfy.lora.model_lora_keys_unet(model, {})
    core = by_core(model, model, tensors, names)
    changed = {n for n, tensor in merged.items() if tensor is not unet.tensors[n]}
    assert {f"{hooks.UNET}{name}" for name in changed} == set(core)
    for name in changed:
        assert world.difference(merged[name], core[f"{hooks.UNET}{name}"]) < 1e-5, name
        assert not torch.equal(merged[name], unet.tensors[name])


TEMPORAL = "down_blocks.0.motion_modules.0.temporal_transformer"
TO_Q = f"{TEMPORAL}.transformer_blocks.0.attention_blocks.0.to_q"
TO_OUT = f"{TEMPORAL}.transformer_blocks.0.attention_blocks.0.to_out.0"


def moved(model: Any, path: Path, scale: float = 1.0) -> tuple[Any, dict[str, Tensor], list[str]]:
    """(the motion module before, its patched weights, warnings) of a file on a MODEL."""
    adapter = load_adapter(path, "motion", pairs_only=False)
    adapted, warnings = apply_motion_adapter(model, adapter, scale, path.name)
    patcher = required_motion_patcher(adapted, "", "")
    weights = patcher.model.state_dict()
    patched = {
        key: comfy.lora.calculate_weight(patches, weights[key].clone(), key)
        for key, patches in patcher.patches.items()
    }
    return patcher.model, patched, warnings


@pytest.mark.parametrize("form", [n for n in linear_forms(64, 64) if n != "DoRA by column"])
def test_a_motion_lora_patches_as_comfyui_patches(tmp_path, form):
    parts = linear_forms(64, 64)[form]
    tensors = {f"{TO_OUT}.{part}": tensor for part, tensor in parts.items()}
    tensors |= {f"{TO_OUT}.diff_b": noise(64), f"{TEMPORAL}.norm.w_norm": noise(64)}
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    motion, patched, warnings = moved(world.moving(), tmp_path / "a.safetensors")
    names = {n.removesuffix(".weight"): n for n in motion.state_dict() if n.endswith(".weight")}
    core = by_core(motion, motion, tensors, names)
    assert not warnings
    assert patched.keys() == core.keys()
    assert len(core) == 3
    for key in core:
        assert world.difference(patched[key], core[key]) < 1e-5, key


class Holder(nn.Module):
    """The layers of a motion module by diffusers' names, for peft to wrap."""

    def __init__(self, motion: Any) -> None:
        super().__init__()
        block = motion.down_blocks[0].motion_modules[0].temporal_transformer
        attention = block.transformer_blocks[0].attention_blocks[0]
        for name, layer in (("to_q", attention.to_q), ("to_out", attention.to_out[0])):
            linear = nn.Linear(64, 64, bias=layer.bias is not None)
            linear.load_state_dict(layer.state_dict())
            self.add_module(name, linear)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}], ids=str)
def test_dora_and_biases_of_peft(tmp_path, options):
    """Against peft's own merge; a bias where the layer has none is left out, and said."""
    motion = required_motion_patcher(world.moving(), "", "").model
    targets = ["to_out"] if "lora_bias" in options else ["to_q", "to_out"]
    config = LoraConfig(target_modules=targets, r=4, lora_alpha=6, **options)
    peft: Any = get_peft_model(Holder(motion), config)
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            parameter.data += noise(*parameter.shape)
    peft.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {}
    for name, tensor in read_tensors(path)[0].items():
        place = "base_model.model.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1."
        named = name.replace("base_model.model.", place).replace("to_out.", "to_out.0.")
        tensors[named] = tensor
    if "lora_bias" in options:
        tensors |= {n.replace("to_out.0", "to_q"): t for n, t in tensors.items()}
    write_tensors(path, tensors, {})
    _, patched, warnings = moved(world.moving(), path)
    merged = peft.merge_and_unload()
    assert world.difference(patched[f"{TO_OUT}.weight"], merged.to_out.weight.data) < 1e-5
    if "lora_bias" in options:
        assert world.difference(patched[f"{TO_OUT}.bias"], merged.to_out.bias.data) < 1e-5
        assert len(warnings) == 1
        assert f"{TO_Q}.bias" in warnings[0]
    else:
        assert world.difference(patched[f"{TO_Q}.weight"], merged.to_q.weight.data) < 1e-5
        adapter = load_adapter(path, "motion", pairs_only=False)
        with pytest.raises(UserError, match="DoRA under a scale that changes"):
            apply_motion_adapter(world.moving(), adapter, ScaleSchedule(0, 1), "a")


def test_other_layers_than_attention_move_the_clip_with_a_schedule_too(tmp_path):
    block = f"{TEMPORAL}.transformer_blocks.0"
    tensors = {}
    for name, out, inside in (("ff.net.0.proj", 512, 64), ("ff.net.2", 64, 256)):
        tensors[f"{block}.{name}.lora_up.weight"] = noise(out, 3)
        tensors[f"{block}.{name}.lora_down.weight"] = 10 * noise(3, inside)
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    model, adapter = world.moving(), load_adapter(tmp_path / "a.safetensors", "motion")
    plain = world.sample(model)
    merged, hooked = (
        world.sample(apply_motion_adapter(model, adapter, scale, "a")[0])
        for scale in (1.0, world.always(1.0))
    )
    assert world.difference(merged, hooked) < 1e-5
    assert world.difference(merged, plain) > 1e-3


def test_what_is_left_out_is_said_on_the_node(tmp_path, monkeypatch):
    pair = {"lora_up.weight": noise(64, 3), "lora_down.weight": noise(3, 64)}
    image = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.{part}": t for layer in (TO_Q, image) for part, t in pair.items()}
    write_tensors(tmp_path / "both.safetensors", tensors, {})
    monkeypatch.setattr(folders, "path_of", lambda *_: tmp_path / "both.safetensors")
    given = ApplyMotionAdapter.execute(world.moving(), "both.safetensors", 1.0)
    (note,) = given.ui[notices.NOTES]
    assert "2 tensors of image layers" in note
    assert "Load LoRA" in note
