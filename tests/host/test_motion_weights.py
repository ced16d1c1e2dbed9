"""Motion weights in a MODEL: nothing at 0, the trained network at 1, a line between them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch

from helpers.host import world
from still_moving import comfy_entrypoint
from still_moving.adapters.files.motion_weights import (
    Form,
    MotionWeights,
    MotionWeightsInfo,
    apply_motion_weights,
    is_temporal,
    save_motion_weights,
)
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.adapters.host.motion_weights import apply_to_model
from still_moving.adapters.worlds import model as shapes
from still_moving.common.errors import UserError
from still_moving.nodes.apply.motion_weights import ApplyMotionWeights
from still_moving.nodes.shared import folders
from still_moving.worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS

PREFIX = shapes.CHECKPOINT_PREFIX


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


def network() -> dict[str, torch.Tensor]:
    """Every tensor of the shapes world's network by its file name, in fp32."""
    image, _ = read_tensors(WEIGHTS / BASE)
    motion, _ = read_tensors(WEIGHTS / MOTION_MODULE)
    own = {k.removeprefix(PREFIX): t for k, t in image.items() if k.startswith(PREFIX)}
    return {name: tensor.float() for name, tensor in {**own, **motion}.items()}


def learned(form: Form = "difference", **info) -> MotionWeights:
    """As NewMove changes a network, at random."""
    dice, before = torch.Generator().manual_seed(0), network()
    names = [n for n in before if is_temporal(n) and not n.endswith(".pe")]
    names += [n for n in before if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    after = {n: before[n] + 0.03 * torch.randn(before[n].shape, generator=dice) for n in names}
    described = MotionWeightsInfo("temporal.all+kv", form, "shapes", **info)
    return MotionWeights.between(described, before, after)


def whole_files(tensors: dict[str, torch.Tensor], folder: Path):
    """A MODEL of these tensors, loaded from files as any other."""
    motion = {n: t for n, t in tensors.items() if is_temporal(n)}
    image = {f"{PREFIX}{n}": t for n, t in tensors.items() if n not in motion}
    write_tensors(folder / "motion.safetensors", motion, {})
    write_tensors(folder / "image.safetensors", image, {})
    module = load_motion_module(folder / "motion.safetensors")
    return apply_motion_module(shapes.load_model(folder / "image.safetensors"), module)


def test_at_zero_nothing_changes_at_one_it_is_the_trained_network(tmp_path):
    moving, weights = world.moving(), learned()
    before = world.sample(moving)
    (off, none), (on, _) = (apply_to_model(moving, weights, a, "it") for a in (0.0, 1.0))
    assert none == []
    assert torch.equal(world.sample(off), before)
    trained = world.sample(whole_files(apply_motion_weights(network(), weights, 1.0), tmp_path))
    sampled = world.sample(on)
    assert world.difference(sampled, trained) < 1e-5
    assert world.difference(trained, before) > 0.05
    assert torch.equal(world.sample(moving), before)  # no trace


def test_both_forms_are_the_same_line_and_leave_loras_whole():
    moving = world.moving()
    adapted, _ = apply_motion_adapter(moving, world.motion_adapter(), 1.0, "a LoRA")
    for amount in (0.5, 1.0):
        clips = [
            world.sample(apply_to_model(adapted, learned(form), amount, "it")[0])
            for form in ("difference", "whole")
        ]
        assert world.difference(*clips) < 1e-4
        alone = world.sample(apply_to_model(moving, learned(), amount, "it")[0])
        assert world.difference(clips[0], alone) > 0.01


def test_stacked_motions_commute():
    moving, one, two = world.moving(), world.motion_adapter(1), world.motion_adapter(2)
    clips = []
    for order in ((one, two), (two, one)):
        stacked = moving
        for adapter in order:
            stacked, _ = apply_motion_adapter(stacked, adapter, 1.0, "a motion")
        clips.append(world.sample(stacked))
    assert world.difference(*clips) < 1e-5


def test_weights_of_another_network_are_refused_and_another_module_is_named():
    other = learned(motion_module="0" * 64, motion_module_name="mm_other.ckpt")
    _, (warning,) = apply_to_model(world.moving(), other, 0.5, "dance")
    assert "mm_other.ckpt" in warning
    assert MOTION_MODULE in warning
    with pytest.raises(UserError, match="without a motion module"):
        apply_to_model(world.plain(), other, 1.0, "dance")
    lost = replace(other, tensors={"down_blocks.9.motion_modules.0.norm.bias": torch.ones(3)})
    with pytest.raises(UserError, match=r"1 of 1 layers not there.*mm_other"):
        apply_to_model(world.moving(), lost, 0.0, "dance")


def test_the_node_finds_the_file_in_its_folder():
    own = Path(folder_paths.get_folder_paths(folders.MOTION_WEIGHTS)[0])
    own.mkdir(parents=True, exist_ok=True)
    save_motion_weights(own / "dance.safetensors", learned())
    folder_paths.filename_list_cache.clear()
    assert folders.choices(folders.MOTION_WEIGHTS)[0] == "dance.safetensors"  # before the demo's
    moving = world.moving()
    (moved,) = ApplyMotionWeights.execute(moving, "dance.safetensors", 1.0).result
    assert world.difference(world.sample(moved), world.sample(moving)) > 0.05
    (own / "dance.safetensors").unlink()
