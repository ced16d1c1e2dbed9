"""What a LoRA file says of its strength, where it says too little, and where it says nonsense."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.small_files import motion_layers, random_pair, spellings
from still_moving.adapters.files.adapter import Adapter, load_adapter
from still_moving.adapters.files.lora_scale import Scales
from still_moving.adapters.files.tensors import write_tensors
from still_moving.common.errors import UserError

LAYER = motion_layers()[0]
PAIR = random_pair(64, 4, 0)


def written(folder: Path, stated: Any = None, beside: Any = None, form: str = "peft model") -> Path:
    """A LoRA of one layer, with a config in its metadata or beside it."""
    down, up = spellings(LAYER)[form]
    metadata = {} if stated is None else {"lora_adapter_metadata": text_of(stated)}
    write_tensors(folder / "zoom.safetensors", {down: PAIR.down, up: PAIR.up}, metadata)
    if beside is not None:
        (folder / "adapter_config.json").write_text(text_of(beside), encoding="utf-8")
    return folder / "zoom.safetensors"


def text_of(config: Any) -> str:
    return config if isinstance(config, str) else json.dumps(config)


def scale_of(adapter: Adapter) -> float:
    """How many times as strong as the pair in the file."""
    change, own = adapter.pairs[LAYER].delta(), PAIR.delta()
    scale = float((change * own).sum() / (own * own).sum())
    assert torch.allclose(change, scale * own, atol=1e-5)
    return round(scale, 6)


@pytest.mark.parametrize("form", ["peft", "peft model"])
def test_the_files_own_metadata_goes_before_what_lies_beside(tmp_path, form):
    stated = {"unet.r": 4, "unet.lora_alpha": 2, "text_encoder.lora_alpha": 99}
    path = written(tmp_path, stated, {"r": 4, "lora_alpha": 40}, form)
    adapter = load_adapter(path)
    assert (scale_of(adapter), adapter.notes) == (0.5, [])


def test_a_config_of_another_tools_file_does_not_count(tmp_path):
    """In a folder of many LoRAs the config is one file's; diffusers' names say it is not this."""
    adapter = load_adapter(written(tmp_path, None, {"r": 4, "lora_alpha": 40}, "peft"))
    assert (scale_of(adapter), adapter.notes) == (1.0, [])


@pytest.mark.parametrize("beside", [None, {"r": 8, "lora_alpha": 64}, {"lora_alpha": 64}])
def test_without_its_config_the_scale_is_1_and_that_is_said(tmp_path, beside):
    adapter = load_adapter(written(tmp_path, None, beside))
    assert scale_of(adapter) == 1.0
    (note,) = adapter.notes
    assert "zoom.safetensors says nothing of its alpha" in note
    assert "adapter_config.json" in note


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("[1, 2", "text that is no config"),
        ("3", "text that is no config"),
        ('{"lora_alpha": NaN, "r": 4}', "'nan' as alpha"),
        ('{"r": 4, "lora_alpha": 1%s}' % ("0" * 400), "as alpha"),
        ({"r": 4, "lora_alpha": "16"}, "'16' as alpha"),
        ({"r": 4, "lora_alpha": True}, "'True' as alpha"),
        ({"r": 4, "lora_alpha": 2, "alpha_pattern": {"(": 1}}, "the pattern '('"),
        ({"r": 4, "lora_alpha": 2, "alpha_pattern": {"(.*)*(.*)*x": 1}}, "the pattern"),
        ({"r": 4, "lora_alpha": 2, "init_lora_weights": "pissa_niter_16"}, "begins in the weights"),
        ({"r": 4, "lora_alpha": 2, "init_lora_weights": "olora"}, "begins in the weights"),
        ({"r": 4, "lora_alpha": 2, "use_qalora": True}, "a QA-LoRA"),
    ],
)
@pytest.mark.parametrize("place", ["stated", "beside"])
def test_a_config_that_means_something_else_is_refused(tmp_path, config, found, place):
    path = written(tmp_path, **{place: config})
    with pytest.raises(UserError, match=r"zoom\.safetensors|adapter_config\.json") as error:
        load_adapter(path)
    assert found in str(error.value)
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal", "eva", "mica"])
def test_starts_that_leave_the_weights_alone_are_taken(tmp_path, start):
    config = {"r": 4, "lora_alpha": 12, "init_lora_weights": start}
    assert scale_of(load_adapter(written(tmp_path, None, config))) == 3.0


def test_what_needs_more_than_pairs_is_refused_where_only_pairs_do(tmp_path):
    path = written(tmp_path, {"r": 4, "lora_alpha": 4}, form="peft")
    down, up = spellings(LAYER)["peft"]
    magnitude = down.replace("lora_A.weight", "lora_magnitude_vector")
    write_tensors(path, {down: PAIR.down, up: PAIR.up, magnitude: torch.ones(64)}, {})
    assert load_adapter(path, pairs_only=False).forms == ("DoRA",)
    with pytest.raises(UserError, match=r"more than pairs \(DoRA"):
        load_adapter(path)


DIFFUSERS = spellings(LAYER)["peft"][0].removeprefix("unet.").removesuffix(".lora_A.weight")


@pytest.mark.parametrize(
    ("inside", "pattern", "scale"),
    [
        # peft's patterns name the modules of whatever it wrapped: a pipeline's keep its "unet.".
        ("unet.", f"unet.{DIFFUSERS}", 16.0),
        ("unet.", DIFFUSERS, 16.0),
        ("unet.", "unet.other", 1.0),
        ("", DIFFUSERS, 16.0),
        ("", f"unet.{DIFFUSERS}", 1.0),
        ("", r"down_blocks\.\d+\.motion_modules\.\d+\.transformer_blocks\.[0-9]+\.attn1\.to_.", 16),
        ("", r"down_blocks.\d+.motion_modules.(?:0|1).transformer_blocks.\d+.attn\d+.to_.", 16.0),
    ],
)
def test_a_pattern_is_matched_with_the_names_that_peft_saw(tmp_path, inside, pattern, scale):
    if LAYER.split(".")[0] != "down_blocks":
        pattern = pattern.replace("down_blocks", LAYER.split(".")[0])
    path = tmp_path / "adapter_model.safetensors"
    names = [f"base_model.model.{inside}{DIFFUSERS}.lora_{half}.weight" for half in "AB"]
    write_tensors(path, dict(zip(names, (PAIR.down, PAIR.up), strict=True)), {})
    config = {"r": 4, "lora_alpha": 4, "alpha_pattern": {pattern: 64}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert scale_of(load_adapter(path)) == scale


def test_a_foreign_key_does_not_hide_whose_config_lies_beside(tmp_path):
    down, up = spellings(LAYER)["peft model"]
    path = tmp_path / "renamed.safetensors"
    write_tensors(path, {down: PAIR.down, up: PAIR.up, "step": torch.ones(1)}, {})
    config = {"r": 4, "lora_alpha": 8, "use_rslora": 1}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert scale_of(load_adapter(path)) == 4.0


def test_a_pattern_that_could_take_for_ever_stays_refused(tmp_path):
    for pattern in (r"\d+\d+\d+x", r"(?:.*)*x", r".*a.*b.+c", r"(\d+.?)+x", r"\d*\d+\d*\d"):
        config = {"r": 4, "lora_alpha": 4, "alpha_pattern": {pattern: 8}}
        with pytest.raises(UserError, match="the pattern"):
            load_adapter(written(tmp_path, config, form="peft"))


def test_a_pattern_for_each_layer_is_made_ready_once():
    """A pattern a layer, as diffusers writes for ranks that differ."""
    names = [f"down_blocks.{i}.attentions.{i % 7}.to_q" for i in range(600)]
    config = {"r": 4, "lora_alpha": 4, "alpha_pattern": {f"^{n}": 8 for n in names}}
    scales, began = Scales("zoom", config), time.process_time()
    assert {scales.of(Path("zoom"), name, 4, None) for name in names} == {2.0}
    assert time.process_time() - began < 3  # 5 s and more where each is made ready each time
