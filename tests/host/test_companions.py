"""Networks that a MODEL carries: ComfyUI loads, counts and frees them, wherever the MODEL goes."""

import gc
import weakref

import comfy.model_management
import pytest
import torch
from comfy.model_patcher import ModelPatcher

from helpers.host import world
from still_moving.adapters.host import companions
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import KEY, precision
from still_moving.adapters.host.spatial_adapter import Mode, apply_spatial_adapter
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.common.errors import UserError
from still_moving.nodes.apply.spatial import rounded
from still_moving.worlds.shapes.files import CUSTOMIZED, WEIGHTS

pytestmark = pytest.mark.every_comfyui

CHANGES = ScaleSchedule(1.0, -0.5, "smooth")
CPU, META = torch.device("cpu"), torch.device("meta")


def adapted(model: ModelPatcher | None = None) -> ModelPatcher:
    """Carries a motion module and the pairs of two adapters."""
    spatial, _ = apply_spatial_adapter(
        world.moving(model), world.spatial_adapter(), 1.0, "runtime", "a"
    )
    return apply_motion_adapter(spatial, world.motion_adapter(), CHANGES, "a")[0]


def test_comfyui_knows_and_counts_every_network():
    model = adapted()
    world.sample(model)
    loaded = {id(patcher.model) for patcher in comfy.model_management.loaded_models()}
    carried = model.get_additional_models()
    assert len(carried) == 3
    for patcher in carried:
        assert id(patcher.model) in loaded
        assert patcher.model_size() == sum(p.nbytes for p in patcher.model.parameters())


def test_networks_are_let_go_with_their_model():
    model = adapted()
    world.sample(model)
    pairs = [weakref.ref(p.model) for p in model.get_additional_models()[1:]]
    comfy.model_management.unload_all_models()
    del model
    gc.collect()
    assert all(network() is None for network in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pairs_are_in_the_precision_that_the_model_computes_in(dtype):
    model = adapted(world.stored_as(dtype))
    network = model.get_additional_models()[1].model
    assert {p.dtype for p in network.parameters()} == {precision(model)}


def test_a_choice_of_precision_is_the_models_own():
    """Of two clones with a precision each, whichever is loaded now."""
    one = world.plain()
    other = one.clone()
    other.add_object_patch("manual_cast_dtype", torch.bfloat16)
    other.patch_model(load_weights=False)
    try:
        assert precision(one) == torch.float32
        assert precision(other) == torch.bfloat16
    finally:
        other.unpatch_model(unpatch_weights=False)


def test_each_network_can_be_made_anew():
    """As ComfyUI does for another GPU, for the CPU, and for hooks on prompts."""
    model = adapted()
    for patcher in model.get_additional_models():
        if not hasattr(patcher, "cached_patcher_init"):
            pytest.skip("an older ComfyUI makes no second copies")
        make, arguments = patcher.cached_patcher_init
        for named in ({}, {"disable_dynamic": True}, {"device": CPU}):
            twin = make(*arguments, **named)
            assert twin.model is not patcher.model
            ours, theirs = twin.model.state_dict(), patcher.model.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        deep = patcher.clone(force_deepcopy=True)
        assert deep.model is not patcher.model


def test_networks_follow_a_model_that_is_sent_elsewhere():
    moving, _ = apply_motion_adapter(world.moving(), world.motion_adapter(), 1.0, "a")
    if not hasattr(moving, "cached_patcher_init"):
        pytest.skip("an older ComfyUI sends no MODEL elsewhere")
    expected = world.sample(moving)
    sent = moving.clone()
    for patcher in sent.get_additional_models():
        patcher.load_device = META  # as if it had been applied for another device
    assert torch.equal(world.sample(sent), expected)
    for model in (sent, moving):
        patcher = companions.carried(model, KEY)
        assert patcher is not None
        assert patcher.load_device == CPU


def test_what_is_rounded_is_said_on_the_node():
    whole, stored = world.plain(), world.stored_as(torch.float8_e4m3fn)
    assert rounded(whole, "a") == []
    assert "8 bits" in rounded(stored, "mine.safetensors")[0]
    adapter = world.spatial_adapter()
    modes: tuple[tuple[Mode, int], ...] = (("merged", 1), ("auto", 0))
    for mode, warned in modes:
        _, warnings = apply_spatial_adapter(world.moving(stored), adapter, 1.0, mode, "a")
        assert len(warnings) == warned
    # As coarse as the same checkpoint in 8 bits, which the warning compares it with.
    injected = inject_checkpoint(world.moving(stored), WEIGHTS / CUSTOMIZED, 1.0)
    whole = world.sample(world.moving(world.plain(CUSTOMIZED)))
    with torch.inference_mode():  # as ComfyUI runs nodes
        assert 0.05 < world.difference(world.sample(injected), whole) < 0.5


def test_hooks_that_were_handed_on_without_their_pairs_are_refused():
    """As by a pack that makes a MODEL of its own from another's wrappers."""
    adapter = world.spatial_adapter()
    model, _ = apply_spatial_adapter(world.plain(), adapter, 1.0, "runtime", "a")
    model.additional_models.clear()
    with pytest.raises(UserError, match="without the adapter"):
        world.sample(model)
