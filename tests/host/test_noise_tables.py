"""A clip's noise table under dynamic VRAM, where clones of one MODEL swap their sampling objects.

That mode needs a card; what it does to buffers does not, and is done here as ComfyUI does it.
"""

import copy
from types import SimpleNamespace

import comfy.model_base
import comfy.utils
import pytest
import torch
from comfy.model_patcher import ModelPatcher

from helpers.host import world
from still_moving.adapters.host.motion_module import apply_motion_module

pytestmark = pytest.mark.every_comfyui

TABLES = ("sigmas", "log_sigmas")
MAX = {"AnimateDiff": 25.15, "AnimateLCM": 25.15}
schedules = pytest.mark.parametrize("schedule", MAX)


def stable_diffusion() -> ModelPatcher:
    """The shapes world's checkpoint with SD1.5's table: its own is AnimateDiff's."""
    plain = world.plain()
    settings = {"beta_schedule": "linear", "linear_start": 0.00085, "linear_end": 0.012}
    plain.model.model_sampling = comfy.model_base.model_sampling(
        SimpleNamespace(sampling_settings=settings), comfy.model_base.ModelType.EPS
    )
    return plain


def write(network, key: str, table: torch.Tensor) -> None:
    """What comfy.utils.set_attr_buffer does; 0.3.64 has none."""
    if hasattr(comfy.utils, "set_attr_buffer"):
        comfy.utils.set_attr_buffer(network, key, table)
    else:
        owner, name = key.rsplit(".", 1)
        comfy.utils.get_attr(network, owner).register_buffer(name, table)


def restore(network, kept: dict[str, torch.Tensor]) -> None:
    """ModelPatcherDynamic.restore_loaded_backups, for buffers."""
    for key in list(kept):
        write(network, key, kept.pop(key))


class Loaded:
    """Clones of one MODEL, loaded in turn; kept: the buffers that ComfyUI means to put back."""

    def __init__(self):
        self.kept: dict[str, torch.Tensor] = {}

    def load(self, patcher: ModelPatcher) -> dict[str, torch.Tensor]:
        """Load one as ModelPatcherDynamic does, and unload it; its tables in between."""
        network = patcher.patch_model(load_weights=False)
        restore(network, self.kept)
        for key, table in list(network.named_buffers()):
            self.kept[key] = table
            write(network, key, table.clone())  # on the card, say
        loaded = {name: getattr(network.model_sampling, name).clone() for name in TABLES}
        patcher.unpatch_model(unpatch_weights=False)
        return loaded


def tables(sampling) -> dict[str, torch.Tensor]:
    return {name: getattr(sampling, name).clone() for name in TABLES}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in TABLES)


@schedules
@pytest.mark.parametrize("other", ["plain", "AnimateDiff", "AnimateLCM"])
def test_clones_that_are_loaded_in_turn_keep_their_own_tables(schedule, other):
    plain, loaded = stable_diffusion(), Loaded()
    moving = apply_motion_module(plain, world.motion_module(), schedule)
    another = apply_motion_module(plain, world.motion_module(), other) if other in MAX else plain
    patchers = (plain, another, moving)
    own = [tables(patcher.get_model_object("model_sampling")) for patcher in patchers]
    for i in (0, 2, 1, 0, 1, 2, 2, 0):
        assert equal(loaded.load(patchers[i]), own[i])
        # What ComfyUI means to put back somewhere is the plain checkpoint's, or nothing.
        assert all(torch.equal(t, own[0][key.split(".")[1]]) for key, t in loaded.kept.items())
    for patcher, table in zip(patchers, own, strict=True):
        assert equal(tables(patcher.get_model_object("model_sampling")), table)


@schedules
def test_a_table_that_is_written_from_outside_is_let_be(schedule):
    moving = apply_motion_module(world.plain(), world.motion_module(), schedule)
    sampling = moving.get_model_object("model_sampling")
    own = tables(sampling)
    network = torch.nn.Module()
    network.model_sampling = sampling
    for name in TABLES:
        write(network, f"model_sampling.{name}", torch.ones(3))
    assert equal(tables(sampling), own)
    assert float(sampling.sigma_max) == pytest.approx(MAX[schedule], abs=0.01)
    assert not list(network.named_buffers())


@schedules
def test_a_table_can_be_copied_moved_and_set_anew(schedule):
    moving = apply_motion_module(world.plain(), world.motion_module(), schedule)
    sampling = moving.get_model_object("model_sampling")
    own = tables(sampling)
    twin = copy.deepcopy(sampling).to(torch.float64)
    assert equal(tables(twin), own)
    half = twin.sigmas / 2
    twin.set_sigmas(half)  # as nodes that rescale a schedule do
    assert torch.equal(twin.sigmas, half)
    assert torch.equal(twin.log_sigmas, half.log())
    assert equal(tables(sampling), own)
    clone = moving.clone().get_model_object("model_sampling")
    assert equal(tables(clone), own)
