"""What of a LoRA changes nothing is left out and told; packed numbers and odd configs by name."""

from __future__ import annotations

import json
import time

import pytest
import torch

from helpers.small_files import motion_layers, random_pair, spellings
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.image_lora import read_image_lora
from still_moving.adapters.files.motion_names import frames_of_config, trainer_settings
from still_moving.adapters.files.prediction import read_scheduler, stated_prediction
from still_moving.adapters.files.tensors import write_tensors
from still_moving.common.errors import UserError

PAIR = random_pair(64, 4, 0)
IMAGE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"
TEMPORAL = [spellings(layer)["kohya"][0].partition(".")[0] for layer in motion_layers()]


def pair(name, down=PAIR.down, up=PAIR.up):
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}


@pytest.mark.parametrize(
    ("read", "first", "second"),
    [(load_adapter, TEMPORAL[0], TEMPORAL[1]), (read_image_lora, IMAGE + "q", IMAGE + "k")],
)
@pytest.mark.parametrize("rank_0", [False, True])
def test_a_layer_that_is_not_changed_is_left_out(tmp_path, read, first, second, rank_0):
    idle = pair(second, torch.ones(0, 64), torch.ones(64, 0)) if rank_0 else {}
    path = tmp_path / "zoom.safetensors"
    write_tensors(path, pair(first) | idle | {f"{second}.alpha": torch.tensor(4.0)}, {})
    (note,) = read(path).notes
    assert "1 tensors of layers that are not changed" in note
    assert second.removeprefix("lora_unet_") in note


def test_numbers_of_4_bits_are_called_quantized(tmp_path):
    packed = torch.zeros(4, 32, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    for name, read in ((TEMPORAL[0], load_adapter), (IMAGE + "q", read_image_lora)):
        write_tensors(tmp_path / "zoom.safetensors", pair(name, packed), {})
        with pytest.raises(UserError, match="quantized tensors"):
            read(tmp_path / "zoom.safetensors")


def test_configs_beyond_measure_say_nothing(tmp_path):
    config = tmp_path / "config.json"
    for text in ("[" * 100000, json.dumps({"motion_max_seq_length": 10**400})):
        config.write_text(text, encoding="utf-8")
        assert frames_of_config(tmp_path / "a.safetensors") is None
    (tmp_path / "config.yaml").write_text(
        f"temporal_position_encoding_max_len: {'9' * 5000}\n", encoding="utf-8"
    )
    assert trainer_settings(tmp_path / "a.ckpt") == (None, None)
    config.write_text("[" * 100000, encoding="utf-8")
    with pytest.raises(UserError, match="no settings"):
        read_scheduler(config)


def test_empty_lines_of_a_yaml_are_passed_at_once(tmp_path):
    text = "\n" * 60000 + "  parameterization: 'v'  # as trained\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    began = time.process_time()
    assert str(stated_prediction(tmp_path / "x.ckpt", [], {})) == "v_prediction"
    assert time.process_time() - began < 2


@pytest.mark.parametrize("prefix", ["pipe.unet.", "motion_module.", "weights.", "lora."])
def test_prefixes_of_trainers_are_taken_off(tmp_path, prefix):
    layer = motion_layers()[0]
    down, up = spellings(layer)["AnimateDiff"]
    tensors = {prefix + down: PAIR.down, prefix + up: PAIR.up}
    write_tensors(tmp_path / "zoom.safetensors", tensors, {})
    assert list(load_adapter(tmp_path / "zoom.safetensors").pairs) == [layer]
