"""Full-size SD1.5: what the nodes sample is what diffusers and AnimateDiff-Evolved sample."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from full_size import (
    Reference,
    animatediff_evolved,
    load_model,
    motion_lora,
    relative_difference,
    sample,
    write_files,
)
from torch import Tensor

from still_moving.adapters.file import Adapter, load_adapter, save_adapter
from still_moving.adapters.motion import apply_motion_adapter
from still_moving.adapters.motion_module.attach import apply_motion_module, load_motion_module

TOLERANCE = 1e-4
SCALES = (1.0, 0.0, -1.0)


class Sampled(NamedTuple):
    """Files of one version, and what our nodes sample from them at each scale."""

    version: str
    unet: Path
    module: Path
    lora: Path
    model: Any
    ours: dict[float, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("full size")
    yield path
    for file in path.iterdir():
        file.unlink()  # gigabytes


@pytest.fixture(scope="module", params=["v1", "v2", "v3"])
def sampled(folder, request):
    unet, module = write_files(folder, request.param)
    lora = folder / f"lora_{request.param}.safetensors"
    save_adapter(lora, motion_lora(request.param))
    model = load_model(unet)
    moving = apply_motion_module(model, load_motion_module(module))
    adapter: Adapter = load_adapter(lora, kind="motion")
    ours = {s: sample(apply_motion_adapter(moving, adapter, s, lora.name)[0]) for s in SCALES}
    yield Sampled(request.param, unet, module, lora, model, ours)
    module.unlink()


def test_sampling_equals_diffusers(sampled):
    reference = Reference(sampled.unet, sampled.module, load_adapter(sampled.lora))
    for scale, ours in sampled.ours.items():
        assert relative_difference(ours, reference.sample(scale)) < TOLERANCE, scale
        # A LoRA that changed nothing would pass, too.
        assert scale == 0 or relative_difference(ours, sampled.ours[0.0]) > 100 * TOLERANCE


def test_sampling_equals_animatediff_evolved(sampled):
    """Its loaders read our file, so the Motion Adapter works there, too.

    With v1 modules, where the two differ by design, see ``_narrow_group_norms``.
    """
    beside = Path.home() / "comfy" / "ComfyUI-AnimateDiff-Evolved"
    pack = Path(os.environ.get("ANIMATEDIFF_EVOLVED_PATH") or beside)
    if not (pack / "animatediff").is_dir():
        pytest.skip("no AnimateDiff-Evolved found: set ANIMATEDIFF_EVOLVED_PATH to a checkout")
    for scale, ours in sampled.ours.items():
        theirs = animatediff_evolved(pack, sampled.model, sampled.module, sampled.lora, scale)
        assert relative_difference(ours, sample(theirs)) < TOLERANCE, scale
