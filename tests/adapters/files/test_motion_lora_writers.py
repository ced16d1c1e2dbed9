"""Motion LoRAs change a weight as the code of the tool that wrote them does, to 1e-5."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, UNetMotionModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from helpers.small_files import MODULE_SHAPES
from still_moving.adapters.files import keys
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.tensors import write_tensors

LINEAR = [
    name.removesuffix(".weight")
    for name, shape in MODULE_SHAPES.items()
    if name.endswith(".weight") and len(shape) == 2
]
BLOCK = [name for name in LINEAR if ".transformer_blocks." in name]  # of TemporalTransformerBlock
ATTENTION = [name for name in BLOCK if ".attention_blocks." in name]
EVERY = r".*motion_modules.*\.(to_[qkv]|to_out\.0|proj|proj_in|proj_out|net\.2)"
PATTERNS = {
    "rank_pattern": {r"attn1.to_q": 8, r"down_blocks\.0.*\.net\.2": 2, "proj_in": 6},
    "alpha_pattern": {r"attn2.to_[kv]": 3.5, "^down_blocks.0.motion_modules.0.proj_out": 20},
}
CONFIGS: dict[str, Any] = {
    "alpha": {"r": 4, "lora_alpha": 16},
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True},
    "patterns": {"r": 4, "lora_alpha": 9, **PATTERNS},
    "patterns and rslora": {"r": 4, "lora_alpha": 9, "use_rslora": True, **PATTERNS},
    "fan in": {"r": 4, "lora_alpha": 8, "fan_in_fan_out": True},  # peft: not of linear layers
}


def changes(path: Path) -> dict[str, Tensor]:
    adapter = load_adapter(path, "motion", pairs_only=False)
    assert not adapter.notes
    return {layer: pair.delta() for layer, pair in adapter.pairs.items()}


def same_changes(path: Path, expected: dict[str, Tensor]) -> None:
    found = changes(path)
    assert found.keys() == expected.keys()
    for layer, change in expected.items():
        assert (found[layer] - change).abs().max() < 1e-5, layer


def factors(layers: list[str], rank: int = 4) -> dict[str, tuple[Tensor, Tensor]]:
    """(down, up) by layer, of the layers' own sizes."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for layer in layers:
        out, inside = MODULE_SHAPES[f"{layer}.weight"]
        down = torch.randn(rank, inside, generator=generator) / 8
        made[layer] = down, torch.randn(out, rank, generator=generator) / 8
    return made


def guoyww(path: Path) -> dict[str, Tensor]:
    """guoyww/AnimateDiff, convert_lora_safetensor_to_diffusers.py, load_diffusers_lora."""
    tensors, expected = {}, {}
    for layer, (down, up) in factors(ATTENTION).items():
        head, _, to = layer.removesuffix(".0").rpartition(".")
        tensors[f"{head}.processor.{to}_lora.down.weight"] = down
        tensors[f"{head}.processor.{to}_lora.up.weight"] = up
        expected[layer] = torch.mm(up, down)
    torch.save({"state_dict": tensors, "animatediff_config": {"a": 1}}, path)
    return expected


def motion_director(path: Path) -> dict[str, Tensor]:
    """ExponentialML/AnimateDiff-MotionDirector and kijai/ComfyUI-ADMotionDirector.

    animatediff/utils/lora.py: save_lora_safetensors, convert_to_motion_lora_key, collapse_lora.
    """
    tensors, expected = {}, {}
    for layer, (down, up) in factors(BLOCK).items():
        for part, tensor in (("down", down), ("up", up)):
            key = f"{layer}.lora_{part}.weight"
            module_key = key.split(".")[-3]
            key = key.replace(
                f".{module_key}.lora_{part}.weight", f".processor.{module_key}_lora.{part}.weight"
            )
            tensors[key] = tensor
        expected[layer] = up @ down
    write_tensors(path, tensors, {"model_type": "motion_director", "rank": "4"})
    return expected


def motion_director_plain(path: Path) -> dict[str, Tensor]:
    """The same with use_motion_lora_format off: the modules' own names."""
    tensors, expected = {}, {}
    for layer, (down, up) in factors(BLOCK).items():
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        expected[layer] = up @ down
    write_tensors(path, tensors, {})
    return expected


def kohya(path: Path) -> dict[str, Tensor]:
    """kohya-ss/sd-scripts, networks/lora.py: LoRAModule (scale = alpha / lora_dim).

    create_network_from_weights: without an alpha it is the rank.
    """
    tensors, expected = {}, {}
    for i, (layer, (down, up)) in enumerate(factors(LINEAR).items()):
        name = "lora_unet_" + keys.motion_to_diffusers(layer).replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        alpha = float(i % 3)
        if alpha:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
        expected[layer] = (alpha / 4 if alpha else 1) * (up @ down)
    write_tensors(path, tensors, {"ss_network_dim": "4", "ss_network_alpha": "1"})
    return expected


def comfyui(path: Path) -> dict[str, Tensor]:
    """ComfyUI, comfy_extras/nodes_lora_extract.py: the MODEL's own names, half precision."""
    tensors, expected = {}, {}
    for layer, (down, up) in factors(LINEAR).items():
        down, up = down.half(), up.half()
        name = f"diffusion_model.{layer}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        expected[layer] = up.float() @ down.float()
    write_tensors(path, tensors, {})
    return expected


def loralib(path: Path) -> dict[str, Tensor]:
    """MotionDirector's stable_lora/lora.py by loralib: lora_B @ lora_A, alpha equal to the rank."""
    made = factors(BLOCK)
    write_tensors(
        path,
        {f"{n}.lora_A": down for n, (down, _) in made.items()}
        | {f"{n}.lora_B": up for n, (_, up) in made.items()},
        {},
    )
    return {layer: up @ down for layer, (down, up) in made.items()}


def lycoris(path: Path) -> dict[str, Tensor]:
    """KohakuBlueleaf/LyCORIS, modules/loha.py and lokr.py; functional/loha.py, make_weight."""
    tensors, expected = {}, {}
    for i, (layer, (down, up)) in enumerate(factors(LINEAR).items()):
        name = "lycoris_" + layer.replace(".", "_")
        (out, inside), generator = MODULE_SHAPES[f"{layer}.weight"], torch.Generator()
        if i % 2:
            down2, up2 = (t + torch.randn(t.shape, generator=generator) / 4 for t in (down, up))
            four = {"hada_w1_a": up, "hada_w1_b": down, "hada_w2_a": up2, "hada_w2_b": down2}
            expected[layer] = (up @ down) * (up2 @ down2) * (2 / 4)
        else:
            w1 = torch.randn(4, 2, generator=generator) / 4
            a, b = torch.randn(out // 4, 4) / 4, torch.randn(4, inside // 2) / 4
            four = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b}
            expected[layer] = torch.kron(w1, a @ b) * (2 / 4)
        tensors |= {f"{name}.{part}": tensor for part, tensor in four.items()}
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    write_tensors(path, tensors, {})
    return expected


REBUILT = [guoyww, motion_director, motion_director_plain, kohya, comfyui, loralib, lycoris]


@pytest.mark.parametrize("write", REBUILT, ids=lambda write: write.__name__)
def test_writers_without_a_package(tmp_path, write):
    same_changes(tmp_path / "a.safetensors", write(tmp_path / "a.safetensors"))


def small_adapter() -> MotionAdapter:
    torch.manual_seed(0)
    return MotionAdapter(
        block_out_channels=(32, 32), motion_layers_per_block=1, motion_norm_num_groups=8
    )


def small_unet() -> Any:
    torch.manual_seed(0)
    return UNetMotionModel(
        block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"), cross_attention_dim=16,
        num_attention_heads=2, motion_num_attention_heads=2,
    )  # fmt: skip  # sizes, then blocks, then attention


def fill(model: torch.nn.Module) -> None:
    """Random numbers in every adapter's tensors, which begin at zero."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("lora_", "hada_", "lokr_")):
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4


def expected_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """What peft itself adds, by layer in AnimateDiff naming."""
    found = {}
    module: Any
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            plain = name.removeprefix("base_model.model.")
            (adapter,) = module.active_adapters
            found[keys.motion_to_animatediff(plain)] = module.get_delta_weight(adapter).detach()
    return found


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("adapter", ["default", "my.zoom"])
def test_peft(tmp_path, name, adapter):
    config = LoraConfig(target_modules=EVERY, **CONFIGS[name])
    model = get_peft_model(small_adapter(), config, adapter_name=adapter.replace(".", ""))
    fill(model)
    model.save_pretrained(tmp_path)
    folder = tmp_path if adapter == "default" else tmp_path / adapter.replace(".", "")
    again = PeftModel.from_pretrained(small_adapter(), str(folder))
    expected = expected_of(again)
    assert len(expected) == 7 * 12
    same_changes(folder / "adapter_model.safetensors", expected)


@pytest.mark.parametrize(
    "config",
    [
        LoHaConfig(target_modules=EVERY, r=4, alpha=2, rank_pattern={"attn1.to_q": 2}),
        LoKrConfig(target_modules=EVERY, r=4, alpha=2, alpha_pattern={"attn1.to_q": 3}),
        LoKrConfig(target_modules=EVERY, r=64, alpha=24),  # whole matrices
        LoKrConfig(target_modules=EVERY, r=2, alpha=2, decompose_both=True, decompose_factor=4),
    ],
    ids=["LoHa", "LoKr", "LoKr whole", "LoKr both"],
)
def test_pefts_other_forms(tmp_path, config):
    model = get_peft_model(small_adapter(), config)
    fill(model)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(small_adapter(), str(tmp_path))
    same_changes(tmp_path / "adapter_model.safetensors", expected_of(again))


@pytest.mark.parametrize("name", CONFIGS)
def test_diffusers_models(tmp_path, name):
    unet = small_unet()
    unet.add_adapter(LoraConfig(target_modules=EVERY, **CONFIGS[name]), adapter_name="zoom")
    fill(unet)
    unet.save_lora_adapter(tmp_path, adapter_name="zoom")
    again = small_unet()
    again.load_lora_adapter(str(tmp_path), prefix=None, use_safetensors=True)
    expected = expected_of(again)
    assert any(".ff.net.0.proj" in layer for layer in expected)
    same_changes(tmp_path / "pytorch_lora_weights.safetensors", expected)


@pytest.mark.parametrize("metadata", [True, False])
def test_diffusers_pipelines(tmp_path, metadata):
    unet = small_unet()
    unet.add_adapter(LoraConfig(target_modules=EVERY, **CONFIGS["patterns"]))
    fill(unet)
    config = unet.peft_config["default"].to_dict() if metadata else None
    AnimateDiffPipeline.save_lora_weights(
        str(tmp_path),
        unet_lora_layers=dict(get_peft_model_state_dict(unet)),
        unet_lora_adapter_metadata=config,
    )
    loaded: Any = AnimateDiffPipeline.lora_state_dict(
        str(tmp_path), return_lora_metadata=True, weight_name="pytorch_lora_weights.safetensors"
    )
    state, alphas, stated = loaded
    again = small_unet()
    AnimateDiffPipeline.load_lora_into_unet(state, alphas, again, metadata=stated)
    same_changes(tmp_path / "pytorch_lora_weights.safetensors", expected_of(again))


def test_a_scale_with_a_root_is_not_rounded_to_the_files_precision(tmp_path):
    down, up = (t.half() for t in factors(ATTENTION[:1])[ATTENTION[0]])
    name = "lora_unet_" + ATTENTION[0].replace(".", "_")
    alpha = torch.tensor(16 / math.sqrt(3))
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    write_tensors(tmp_path / "a", {**tensors, f"{name}.alpha": alpha}, {})
    expected = alpha / 4 * (up.float() @ down.float())
    same_changes(tmp_path / "a", {ATTENTION[0]: expected})
