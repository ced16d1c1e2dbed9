"""A compiled MODEL under the pack's nodes gives what the uncompiled one gives, in any order.

The backend runs what dynamo traced as it stands: what is lost is lost in the tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from comfy.ldm.modules import attention
from comfy.model_patcher import ModelPatcher
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_torch_compile

from helpers.host import world
from still_moving.adapters.frame_scales import FrameScales
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.common.errors import UserError
from still_moving.worlds.shapes.files import CUSTOMIZED, WEIGHTS

pytestmark = [pytest.mark.every_comfyui, pytest.mark.slow]

SAME = 1e-5
CHANGES = ScaleSchedule(1.0, -0.5, "smooth")
GUARDS = getattr(nodes_torch_compile, "skip_torch_compile_dict", None)
Step = Callable[[ModelPatcher], ModelPatcher]


class Traced:
    """A backend of torch.compile that runs graphs as they were traced; how many of both."""

    def __init__(self) -> None:
        self.graphs = self.runs = 0

    def __call__(self, graph: Any, _inputs: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    """As in a process where nothing was compiled yet, with the attention that a card has."""
    for name in ("optimized_attention", "optimized_attention_masked"):
        monkeypatch.setattr(attention, name, attention.attention_pytorch)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=True):
        yield Traced()
    torch._dynamo.reset()


def compiling(backend: Any) -> Step:
    """What core's node TorchCompileModel does, with a backend of one's own."""

    def compile_model(model: ModelPatcher) -> ModelPatcher:
        compiled = model.clone()
        options = {"options": {"guard_filter_fn": GUARDS}} if GUARDS else {}
        set_torch_compile_wrapper(compiled, backend=backend, **options)
        return compiled

    return compile_model


def scheduled(model: ModelPatcher) -> ModelPatcher:
    return apply_motion_adapter(model, world.motion_adapter(), CHANGES, "a")[0]


def spatial(scale: float | ScaleSchedule, mode: Any, sites: str = "layers") -> Step:
    adapter = world.spatial_adapter(sites)
    return lambda model: apply_spatial_adapter(model, adapter, scale, mode, "a")[0]


def masked(model: ModelPatcher) -> ModelPatcher:
    mask, frames = torch.eye(16), FrameScales(((0, 1.0), (3, -0.5)))
    model = apply_motion_adapter(model, world.motion_adapter(), frames, "a", mask)[0]
    return apply_spatial_adapter(model, world.spatial_adapter(), frames, "auto", "a", mask)[0]


def injected(model: ModelPatcher) -> ModelPatcher:
    return inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 0.5)


CHAINS: dict[str, tuple[Step, ...]] = {
    "plain": (),
    "motion": (world.moving,),
    "scheduled Motion Adapter": (world.moving, scheduled),
    "runtime Spatial Adapter": (world.moving, spatial(1.0, "runtime")),
    "Spatial Adapter of blocks": (world.moving, spatial(1.0, "auto", "blocks")),
    "both": (world.moving, spatial(CHANGES, "auto"), scheduled),
    "Spatial Adapter alone": (spatial(0.5, "runtime"),),
    "in a mask, frame by frame": (world.moving, masked),
    "merged": (injected, world.moving, spatial(1.0, "merged")),
}


def made(model: ModelPatcher, chain: tuple[Step, ...]) -> ModelPatcher:
    for step in chain:
        model = step(model)
    return model


def compare(model: ModelPatcher, names: tuple[str, ...], traced: Traced) -> None:
    """Sample chains in turn, each with the compiling node first, in between and last."""
    for name in names:
        chain = CHAINS[name]
        expected = world.sample(made(model, chain), steps=3)
        for at in range(len(chain) + 1):
            compiled = made(model, (*chain[:at], compiling(traced), *chain[at:]))
            before = traced.runs
            assert world.difference(world.sample(compiled, steps=3), expected) < SAME, (name, at)
            assert traced.runs > before, (name, at)


def test_a_compiled_model_is_the_uncompiled_one_in_any_order(traced):
    compare(world.plain(), ("plain", "motion", "both", "merged", "plain"), traced)
    # Without hooks, before and after graphs are told apart; with motion, whatever is merged; with
    # scales that change in every step. Older ComfyUI has what it samples with guarded, too.
    assert traced.graphs == (4 if GUARDS else 5)


@pytest.mark.night
def test_every_node_in_any_order(traced):
    with torch._dynamo.config.patch(recompile_limit=2 * len(CHAINS)):
        compare(world.plain(), (*CHAINS, *reversed(CHAINS)), traced)


def test_a_network_that_is_compiled_in_place_is_refused_where_patches_are_lost():
    def in_place(model: ModelPatcher) -> ModelPatcher:
        compiled = model.clone()
        network = compiled.get_model_object("diffusion_model")
        compiled.add_object_patch("diffusion_model", torch.compile(network, backend="eager"))
        return compiled

    for merge in (injected, spatial(1.0, "merged")):
        with pytest.raises(UserError, match=r"compiled 'diffusion_model'.*TorchCompileModel"):
            world.sample(in_place(merge(world.plain())))
    for step in (world.moving, spatial(1.0, "runtime")):
        with pytest.raises(UserError, match=r"compiled 'diffusion_model'.*TorchCompileModel"):
            step(in_place(world.plain()))


def test_a_network_that_is_replayed_from_cuda_graphs_is_refused():
    prefetch = pytest.importorskip("comfy.model_prefetch", reason="an older ComfyUI")
    plain = world.plain()
    moving, before = world.moving(plain), world.sample(plain)
    prefetch.GRAPH_MODULES.add(plain.model.diffusion_model.middle_block)
    try:
        with pytest.raises(UserError, match="--disable-cuda-graphs"):
            world.sample(moving)
        assert torch.equal(world.sample(plain), before)  # replaying is right without hooks
    finally:
        prefetch.GRAPH_MODULES.clear()
    assert world.sample(moving).isfinite().all()


@pytest.mark.night
def test_inductor_is_right_as_well():
    torch._dynamo.reset()
    execute = nodes_torch_compile.TorchCompileModel.execute
    model = world.plain()
    for name in ("motion", "both", "merged", "motion"):
        compiled = execute(made(model, CHAINS[name]), "inductor").result[0]
        expected = world.sample(made(model, CHAINS[name]))
        assert world.difference(world.sample(compiled), expected) < 1e-4
