"""Full-size SD1.5: what the nodes sample is what diffusers and AnimateDiff-Evolved sample."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import comfy.lora
import folder_paths
import pytest
import torch
from torch import Tensor

from helpers.host.full_size import (
    FRAMES,
    Reference,
    animatediff_evolved,
    inputs,
    load_evolved,
    load_model,
    relative_difference,
    sample,
    write_files,
)
from helpers.real_size import motion_shapes
from helpers.reference_clips import new_job
from helpers.small import write_set
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.training.recipes.methods import customize_a_video
from still_moving.training.sets.store import Item, LoadedSet
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.big

TOLERANCE = 1e-4
SCALES = (1.0, 0.0, -1.0)


class Sampled(NamedTuple):
    """Files of one version, and what our nodes sample from them at each scale."""

    version: str
    unet: Path
    module: Path
    lora: Path  # as Customize-A-Video writes it
    model: Any
    ours: dict[float, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("full size")
    yield path
    for file in path.iterdir():
        file.unlink()  # gigabytes


def train(folder: Path, unet: Path, module: Path) -> Path:
    """The motion LoRA that a job of Customize-A-Video exports, after one step as large as many."""
    noise, text, _ = inputs()
    clip = LoadedSet("clips", "noise", (Item("0", "it runs", noise, text[0], "0.mp4"),))
    files = {"checkpoint": unet, "motion_module": module, "clip": write_set(folder / "set", clip)}
    short: dict[str, Any] = {"steps": 1, "lr": 0.5, "held_out": 0, "dtype": "float32"}
    recipe = customize_a_video(absorber="none", frames=FRAMES, tier="none", **short)
    job = new_job(folder / "job", recipe, files)
    assert run_job(job) == FINISHED, job.read_state().message
    return job.exports / "made.safetensors"


@pytest.fixture(
    scope="module",
    params=["v1", pytest.param("v2", marks=pytest.mark.every_comfyui), "v3"],
)
def sampled(folder, request, tmp_path_factory):
    unet, module = write_files(folder, request.param)
    exported = train(tmp_path_factory.mktemp(request.param), unet, module)
    lora = exported.rename(folder / f"lora_{request.param}.safetensors")
    model = load_model(unet)
    moving = apply_motion_module(model, load_motion_module(module))
    adapter = load_adapter(lora, kind="motion")
    ours = {s: sample(apply_motion_adapter(moving, adapter, s, lora.name)[0]) for s in SCALES}
    yield Sampled(request.param, unet, module, lora, model, ours)
    module.unlink()


def test_sampling_equals_diffusers(sampled):
    reference = Reference(sampled.unet, sampled.module, load_adapter(sampled.lora))
    for scale, ours in sampled.ours.items():
        assert relative_difference(ours, reference.sample(scale)) < TOLERANCE, scale
        # A LoRA that changed nothing would pass, too.
        assert scale == 0 or relative_difference(ours, sampled.ours[0.0]) > 100 * TOLERANCE


def evolved() -> Path:
    beside = Path.home() / "comfy" / "ComfyUI-AnimateDiff-Evolved"
    pack = Path(os.environ.get("ANIMATEDIFF_EVOLVED_PATH") or beside)
    if not (pack / "animatediff").is_dir():
        pytest.skip("no AnimateDiff-Evolved found: set ANIMATEDIFF_EVOLVED_PATH to a checkout")
    return pack


def test_every_layer_of_motion_director_is_what_animatediff_evolved_makes_of_it(tmp_path):
    """210 layers of a v2 module; its own load_motion_lora_as_patches, which asks for no module."""
    load_evolved(evolved())
    (loading,) = (m for n, m in sys.modules.items() if n.endswith("animatediff.model_injection"))
    tensors, file = {}, tmp_path / "director.safetensors"
    for key, shape in motion_shapes("v2").items():
        head, _, name = key.removesuffix(".weight").rpartition(".")
        if ".transformer_blocks." in key and key.endswith(".weight") and len(shape) == 2:
            for part, size in (("down", (4, shape[1])), ("up", (shape[0], 4))):
                tensors[f"{head}.processor.{name}_lora.{part}.weight"] = torch.randn(size) / 8
    write_tensors(file, tensors, {})
    folder_paths.add_model_folder_path("animatediff_motion_lora", str(tmp_path))
    folder_paths.filename_list_cache.pop("animatediff_motion_lora", None)
    found: dict[str, Any] = {}
    module = SimpleNamespace(mid_block=True, mm_info=SimpleNamespace(mm_version="v2"))
    taker = SimpleNamespace(model=module, add_patches=lambda patches, **_: found.update(patches))
    lora = SimpleNamespace(name=file.name, strength=1.0)
    loading.load_motion_lora_as_patches(taker, lora)
    pairs = load_adapter(file, "motion").pairs
    assert len(pairs) == 210
    assert found.keys() == {f"{layer}.weight" for layer in pairs}
    for layer, pair in pairs.items():
        assert torch.allclose(found[f"{layer}.weight"][0], pair.delta(), atol=1e-5), layer


def test_sampling_equals_animatediff_evolved(sampled):
    """Its loaders find every layer of our file, so motion LoRAs work there, too.

    With v1 modules, where the two differ by design, see ``_narrow_group_norms``.
    """
    pack = evolved()
    pairs = load_adapter(sampled.lora).pairs
    assert all(pair.up.any() for pair in pairs.values())
    for scale, ours in sampled.ours.items():
        theirs = animatediff_evolved(pack, sampled.model, sampled.module, sampled.lora, scale)
        (motion,) = theirs.get_additional_models_with_key("ADE")
        assert set(motion.patches) == {f"{layer}.weight" for layer in pairs}
        for layer, pair in pairs.items():
            nothing = torch.zeros(len(pair.up), pair.down.shape[1])
            delta = comfy.lora.calculate_weight(motion.patches[f"{layer}.weight"], nothing, layer)
            assert torch.allclose(delta, pair.delta(scale), atol=1e-6), layer
        assert relative_difference(ours, sample(theirs)) < TOLERANCE, scale
