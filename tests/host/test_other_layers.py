"""MODELs and checkpoints whose layers are not SD1.5's: refused by name where they are connected."""

import pytest
import torch

from helpers.host import world
from still_moving.adapters.files.tensors import write_tensors
from still_moving.adapters.host.hooks import fingerprint_of, layout_of
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.motion_module import apply_motion_module
from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
from still_moving.adapters.worlds.model import CHECKPOINT_PREFIX
from still_moving.common.errors import UserError
from still_moving.nodes.shared import baking
from still_moving.worlds.shapes.files import BASE, CUSTOMIZED, WEIGHTS

pytestmark = pytest.mark.every_comfyui

FIRST = "diffusion_model.input_blocks.0.0.weight"
NAMES = {9: "an inpainting", 8: "an InstructPix2Pix", 12: "a"}
amounts = pytest.mark.parametrize("amount", [0.5, 1.0])
relatives = pytest.mark.parametrize("channels", NAMES)


@relatives
@pytest.mark.parametrize(
    "connect",
    [
        lambda model: apply_motion_module(model, world.motion_module()),
        lambda model: inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 0.5),
        lambda model: inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 1.0),
        lambda model: apply_spatial_adapter(model, world.spatial_adapter(), 1.0, "runtime", "a"),
        baking.check,
    ],
    ids=["motion module", "injected in part", "injected", "spatial", "trained for"],
)
def test_a_model_that_reads_more_than_latents_is_refused_by_its_name(channels, connect):
    with pytest.raises(UserError) as error:
        connect(world.reading(channels))
    assert f"found {NAMES[channels]} model ({channels} input channels)" in str(error.value)
    assert "expected an SD1.5 model with 4 input channels" in str(error.value)


@relatives
@amounts
def test_a_checkpoint_that_reads_more_than_latents_is_not_injected(tmp_path, channels, amount):
    tensors = {f"{CHECKPOINT_PREFIX}{k}": t for k, t in world.widened(channels).items()}
    write_tensors(tmp_path / "more.safetensors", tensors, {})
    model = world.plain()
    with pytest.raises(UserError) as error:
        inject_checkpoint(model, tmp_path / "more.safetensors", amount)
    message = f"more.safetensors: found {NAMES[channels]} checkpoint ({channels} input channels)"
    assert message in str(error.value)
    assert model.patches == {}


def other_size(model):
    """One layer in the middle of another size than the file's."""
    unet = model.model.diffusion_model
    unet.middle_block[1].norm.weight = torch.nn.Parameter(torch.ones(32))


def fewer(model):
    """A network from which some layers were distilled away."""
    del model.model.diffusion_model.output_blocks[0][0].skip_connection


@amounts
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_size,
            r"1 layers .* first 'middle_block.1.norm.weight' \(64,\), there \(32,\)",
        ),
        (fewer, r"2 of \d+ layers not there, first .*skip_connection"),
    ],
)
def test_no_layer_is_damaged_by_one_of_another_size(amount, change, message):
    model = world.plain()
    change(model)
    with pytest.raises(UserError, match=message):
        inject_checkpoint(model, WEIGHTS / BASE, amount)


def test_a_patch_that_widens_a_layer_is_told_apart_from_the_model():
    """Some packs have ComfyUI widen the first layer when it loads the model, for their own use."""
    model = world.plain()
    before = fingerprint_of(model)
    wide = model.clone()
    wide.add_patches({FIRST: ("diff", (torch.ones(64, 8, 3, 3), {"pad_weight": True}))})
    wide.patch_model()
    try:
        assert wide.model.diffusion_model.input_blocks[0][0].weight.shape[1] == 8
        assert layout_of(wide)[1] == "shapes"
        assert fingerprint_of(wide) == before
        with pytest.raises(UserError, match="an InstructPix2Pix checkpoint"):
            baking.bake(wide)  # the worker would refuse that file
    finally:
        wide.unpatch_model()
