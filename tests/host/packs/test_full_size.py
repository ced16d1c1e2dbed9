"""SD1.5's size: SparseCtrl steers our motion as it steers AnimateDiff-Evolved's; never both."""

import asyncio
from pathlib import Path

import comfy.sample
import folder_paths
import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor

import nodes
from helpers.host import packs
from helpers.host.full_size import (
    CFG,
    SIZE,
    animatediff_evolved,
    inputs,
    load_model,
    relative_difference,
    write_files,
)
from helpers.real_size import motion_shapes, write_random
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.adapters.host.windows import apply_windows
from still_moving.common.errors import UserError

pytestmark = [
    pytest.mark.big,
    pytest.mark.pack("AnimateDiff-Evolved"),
    pytest.mark.pack("Advanced-ControlNet"),
]

EVOLVED = packs.PLACE / packs.PACKS["AnimateDiff-Evolved"].folder
ADVANCED = packs.PLACE / packs.PACKS["Advanced-ControlNet"].folder
TOLERANCE = 1e-4
FRAMES, STEPS = 8, 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("full size")
    yield path
    for file in path.iterdir():
        file.unlink()  # gigabytes


@pytest.fixture(scope="module")
def files(folder):
    return write_files(folder, "v3")


def write_sparsectrl(path: Path) -> None:
    """Random weights under the names of SparseCtrl's files.

    An image ControlNet in diffusers' names that reads a mask beside the hint, and AnimateDiff's
    motion modules in its down blocks: SparseControlNetModel of guoyww/AnimateDiff
    (animatediff/models/sparse_controlnet.py).
    """
    with torch.device("meta"):
        image = ControlNetModel(cross_attention_dim=768, conditioning_channels=4)
    shapes = {name: tuple(tensor.shape) for name, tensor in image.state_dict().items()}
    motion = {n: s for n, s in motion_shapes("v3").items() if n.startswith("down_blocks.")}
    write_random(path, shapes | motion, seed=7)


@pytest.fixture(scope="module")
def steering(folder, files):
    """Conditions with SparseCtrl in them: a hint for the first frame and for the last."""
    animatediff_evolved(EVOLVED, load_model(files[0]), files[1])  # SparseCtrl takes its classes
    asyncio.run(nodes.load_custom_node(str(ADVANCED)))
    write_sparsectrl(folder / "sparse.safetensors")
    folder_paths.add_model_folder_path("controlnet", str(folder))
    folder_paths.filename_list_cache.pop("controlnet", None)
    loader = nodes.NODE_CLASS_MAPPINGS["ACN_SparseCtrlLoaderAdvanced"]
    method = nodes.NODE_CLASS_MAPPINGS["ACN_SparseCtrlIndexMethodNode"].execute("0,-1").result[0]
    control = loader.execute("sparse.safetensors", True, 1.0, 1.0, sparse_method=method).result[0]
    apply = nodes.NODE_CLASS_MAPPINGS["ACN_AdvancedControlNetApply_v2"]
    hints = torch.rand(2, SIZE * 8, SIZE * 8, 3, generator=torch.Generator().manual_seed(6))
    _, positive, negative = inputs()
    conds = [[positive, {}]], [[negative, {}]]
    return apply.execute(*conds, control, hints, 1.0, 0.0, 1.0).result


def sample(model, conds=None, frames: int = FRAMES) -> Tensor:
    noise, positive, negative = inputs()
    noise = noise[:FRAMES].repeat(frames // FRAMES, 1, 1, 1)
    conds = conds or ([[positive, {}]], [[negative, {}]])
    latents = torch.zeros_like(noise)
    named = {"seed": 0, "disable_pbar": True}
    return comfy.sample.sample(
        model, noise, STEPS, CFG, "euler", "normal", *conds, latents, **named
    )


def test_sparsectrl_steers_both_packs_motion_alike(files, steering):
    model = load_model(files[0])
    ours = apply_motion_module(model, load_motion_module(files[1]))
    theirs = animatediff_evolved(EVOLVED, model, files[1])
    free = sample(ours)
    steered = sample(ours, steering)
    assert relative_difference(steered, free) > 100 * TOLERANCE
    assert relative_difference(steered, sample(model, steering)) > 100 * TOLERANCE
    assert relative_difference(steered, sample(theirs, steering)) < TOLERANCE
    assert torch.equal(sample(ours), free)  # after theirs, on the same network


def test_in_windows_sparsectrl_finds_the_frames_of_its_hints(files, steering):
    """Two windows without a frame in common: the hint of the first frame is in the first."""
    model = apply_motion_module(load_model(files[0]), load_motion_module(files[1]))
    windowed = apply_windows(model, FRAMES, 0, "uniform")
    free, steered = (sample(windowed, conds, 2 * FRAMES) for conds in (None, steering))
    assert relative_difference(steered, free) > 100 * TOLERANCE
    # Both windows begin with the same noise, but only one has a hint on its first frame.
    assert relative_difference(free[:FRAMES], free[FRAMES:]) < TOLERANCE
    assert relative_difference(steered[:FRAMES], steered[FRAMES:]) > 100 * TOLERANCE


def test_two_motion_modules_in_one_model_are_refused(files):
    model, module = load_model(files[0]), load_motion_module(files[1])
    theirs = animatediff_evolved(EVOLVED, model, files[1])
    with pytest.raises(UserError, match="AnimateDiff-Evolved's motion module beside"):
        apply_motion_module(theirs, module)
    both = animatediff_evolved(EVOLVED, apply_motion_module(model, module), files[1])
    with pytest.raises(UserError, match="Take out Apply Motion Module, or AnimateDiff-Evolved"):
        sample(both)
    with pytest.raises(UserError, match="connect AnimateDiff-Evolved's Context Options"):
        apply_windows(theirs, 8, 2, "uniform")
