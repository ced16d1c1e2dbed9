"""Full-size SD1.5: what the nodes sample is what diffusers and AnimateDiff-Evolved sample."""

import os
from pathlib import Path

import pytest
import torch
from full_size import (
    Reference,
    animatediff_evolved,
    load_model,
    motion_lora,
    relative_difference,
    sample,
    write_files,
)

from still_moving.adapters.file import save_adapter
from still_moving.adapters.motion import apply_motion_adapter
from still_moving.adapters.motion_module.attach import apply_motion_module, load_motion_module

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("full size")
    yield path
    for file in path.iterdir():
        file.unlink()  # gigabytes


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_sampling_equals_diffusers(folder, version):
    unet, module = write_files(folder, version)
    lora = motion_lora(version)
    moving = apply_motion_module(load_model(unet), load_motion_module(module))
    reference = Reference(unet, module, lora)
    still = sample(apply_motion_adapter(moving, lora, 0.0, "lora")[0])
    assert torch.equal(still, sample(moving))
    for scale in (1.0, 0.0, -1.0):
        adapted, warnings = apply_motion_adapter(moving, lora, scale, "lora")
        assert warnings == []
        ours, theirs = sample(adapted), reference.sample(scale)
        assert relative_difference(ours, theirs) < TOLERANCE, scale
        # A LoRA that changed nothing would pass, too.
        assert scale == 0 or relative_difference(ours, still) > 100 * TOLERANCE
    module.unlink()


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_sampling_equals_animatediff_evolved(folder, version):
    """Its loader reads our Motion Adapter's file, too: the file is what both sides are given."""
    beside = Path.home() / "comfy" / "ComfyUI-AnimateDiff-Evolved"
    pack = Path(os.environ.get("ANIMATEDIFF_EVOLVED_PATH") or beside)
    if not (pack / "animatediff").is_dir():
        pytest.skip("no AnimateDiff-Evolved found: set ANIMATEDIFF_EVOLVED_PATH to a checkout")
    unet, module = write_files(folder, version)
    lora, file = motion_lora(version), folder / f"lora_{version}.safetensors"
    save_adapter(file, lora)
    model = load_model(unet)
    moving = apply_motion_module(model, load_motion_module(module))
    for scale in (1.0, 0.0, -1.0):
        ours = sample(apply_motion_adapter(moving, lora, scale, "lora")[0])
        theirs = sample(animatediff_evolved(pack, model, module, file, scale))
        assert relative_difference(ours, theirs) < TOLERANCE, scale
    module.unlink()
