"""Spatial Adapters and injected checkpoints in a MODEL: merged is run time, in any order."""

from dataclasses import replace

import comfy.hooks
import comfy.sd
import comfy.utils
import pytest
import torch

from helpers.host import world
from still_moving.adapters.files.adapter import Adapter
from still_moving.adapters.files.checkpoint import fingerprint
from still_moving.adapters.files.keys import UNetLayout
from still_moving.adapters.host.hooks import unpatched_unet
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.spatial_adapter import (
    Mode,
    apply_spatial_adapter,
    export_spatial_adapter,
)
from still_moving.adapters.scale_schedule import ScaleSchedule
from still_moving.common.errors import UserError
from still_moving.worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS

pytestmark = pytest.mark.every_comfyui

SAME = 1e-5


@pytest.fixture(scope="module")
def model():
    return world.moving()


def apply(
    model, scale: float | ScaleSchedule = 1.0, mode: Mode = "auto", adapter: Adapter | None = None
):
    adapted, warnings = apply_spatial_adapter(
        model, adapter or world.spatial_adapter(), scale, mode, "mine.safetensors"
    )
    assert warnings == []
    return adapted


def lora_file(model) -> dict[str, torch.Tensor]:
    """A LoRA on one layer that a Spatial Adapter sits on, too."""
    names = UNetLayout(2, 1, (True, True)).to_diffusers("input_blocks.1.1.proj_out")
    key = f"lora_unet_{names.replace('.', '_')}"
    pair = world.small_pair(99)
    return {
        f"{key}.lora_down.weight": pair.down[:, :, None, None],
        f"{key}.lora_up.weight": 5 * pair.up[:, :, None, None],
        f"{key}.alpha": torch.tensor(4.0),
    }


def with_lora(model, weight=1.0):
    return comfy.sd.load_lora_for_models(model, None, lora_file(model), weight, 0.0)[0]


def test_scale_0_changes_nothing_bit_for_bit(model):
    before = world.sample(model)
    for scale in (0.0, 0, ScaleSchedule(0.0, 0.0)):
        assert torch.equal(world.sample(apply(model, scale)), before)


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_merged_equals_run_time(model, scale):
    merged = world.sample(apply(model, scale, "merged"))
    assert world.difference(merged, world.sample(model)) > 0.01
    for other in (apply(model, scale, "runtime"), apply(model, world.always(scale))):
        assert world.difference(world.sample(other), merged) < SAME
    assert torch.equal(world.sample(apply(model, scale)), merged)


def test_the_plain_model_is_left_alone(model):
    before = world.sample(model)
    for mode in ("merged", "runtime"):
        world.sample(apply(model, 1.0, mode))
        assert torch.equal(world.sample(model), before)


@pytest.mark.parametrize("mode", ["merged", "runtime"])
def test_a_lora_may_come_before_or_after(model, mode):
    before = world.sample(apply(with_lora(model), 1.0, mode))
    after = world.sample(with_lora(apply(model, 1.0, mode)))
    assert torch.equal(before, after)
    assert world.difference(before, world.sample(apply(model, 1.0, mode))) > 1e-3
    # Queueing again moves nothing any more.
    again = with_lora(apply(model, 1.0, mode))
    world.sample(again)
    uuid = again.patches_uuid
    assert torch.equal(world.sample(again), after)
    assert again.patches_uuid == uuid


def test_blocks_run_and_cannot_be_merged(model):
    adapter = world.spatial_adapter("blocks")
    assert world.difference(world.sample(apply(model, adapter=adapter)), world.sample(model)) > 0.01
    with pytest.raises(UserError, match=r"whole blocks.*cannot be merged"):
        apply(model, mode="merged", adapter=adapter)
    with pytest.raises(UserError, match=r"a scale that changes.*cannot be merged"):
        apply(model, ScaleSchedule(0, 1), "merged")


def test_a_schedule_changes_during_sampling(model):
    step = world.sample(apply(model, ScaleSchedule(1.0, 0.0, "step", 0.3, 0.3)), steps=4)
    for scale in (0.0, 1.0):
        assert world.difference(step, world.sample(apply(model, scale), steps=4)) > 1e-4


def test_quantized_weights_run_instead_of_merging():
    stored = world.moving(world.stored_as(torch.float8_e4m3fn))
    adapted = apply(stored)
    assert len(adapted.patches) == 0
    assert world.difference(world.sample(adapted), world.sample(stored)) > 0.01


@pytest.mark.parametrize("mode", ["auto", "merged", "runtime"])
def test_every_mode_works_on_weights_of_8_bits(mode):
    stored = world.moving(world.stored_as(torch.float8_e4m3fn))
    adapter = world.spatial_adapter()
    adapted, warnings = apply_spatial_adapter(stored, adapter, 1.0, mode, "mine")
    with torch.inference_mode():  # as ComfyUI runs nodes; 0.3.64 rounds to 8 bits in no other
        assert torch.isfinite(world.sample(adapted)).all()
    assert len(warnings) == (mode == "merged")


def test_a_model_of_8_bits_is_exported_for_what_it_is(tmp_path):
    stored = world.stored_as(torch.float8_e4m3fn)
    export_spatial_adapter(stored, world.spatial_adapter(), tmp_path / "a.safetensors", 1.0, "mine")
    lora = comfy.utils.load_torch_file(str(tmp_path / "a.safetensors"), safe_load=True)
    loaded = comfy.sd.load_lora_for_models(world.plain().clone(), None, lora, 1.0, 0.0)[0]
    exact = apply(world.plain())
    # Its numbers are of the rounded weights, so it is as far from the exact one as they are.
    assert world.difference(world.sample(loaded), world.sample(exact)) < 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_merges_to_rounding(dtype):
    stored = world.moving(world.stored_as(dtype))
    merged, runtime = (world.sample(apply(stored, 1.0, mode)) for mode in ("merged", "runtime"))
    assert world.difference(merged, runtime) < (0.02 if dtype == torch.float16 else 0.1)


def test_the_exported_lora_equals_the_adapter(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    world.sample(apply(model))  # a merged copy is loaded now
    export_spatial_adapter(model, world.spatial_adapter(), path, 0.7, "mine")
    lora = comfy.utils.load_torch_file(str(path), safe_load=True)
    loaded = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]
    assert world.difference(world.sample(loaded), world.sample(apply(model, 0.7))) < SAME


def test_lora_hooks_work_beside_it(model):
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    hook = comfy.hooks.WeightHook(strength_model=1.0)
    hook.weights = comfy.lora.load_lora(lora_file(model), keys)
    hook.need_weight_init = False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    hooked = [[world.text(world.PROMPT), {"hooks": group}]]
    adapted = apply(model)
    before = world.sample(adapted)
    assert world.difference(world.sample(adapted, positive=hooked), before) > 1e-4
    assert torch.equal(world.sample(adapted), before)


def test_an_adapter_that_does_not_fit_is_refused(model):
    adapter = world.spatial_adapter()
    pair = next(iter(adapter.pairs.values()))
    for layer, match in (("input_blocks.9.0.out_layers.3", "not there"), ("out.2", "another size")):
        with pytest.raises(UserError, match=match):
            apply(model, adapter=Adapter(adapter.info, {layer: pair}))


def test_an_adapter_of_another_checkpoint_is_told_apart(model):
    adapter = world.spatial_adapter()
    world.sample(apply(model))  # with other weights loaded, it is still the same checkpoint
    own = fingerprint(unpatched_unet(model))
    assert own == fingerprint(unpatched_unet(world.plain()))
    assert own != fingerprint(unpatched_unet(world.plain(CUSTOMIZED)))
    apply(model, adapter=Adapter(replace(adapter.info, fingerprint=own), adapter.pairs))
    other = replace(adapter.info, fingerprint="0" * 16, checkpoint_name="my_style.ckpt")
    _, warnings = apply_spatial_adapter(model, Adapter(other, adapter.pairs), 1.0, "auto", "mine")
    assert len(warnings) == 1
    assert "my_style.ckpt" in warnings[0]


def test_an_injected_checkpoint_is_known_again(model):
    adapter = world.spatial_adapter()
    own = fingerprint(unpatched_unet(world.plain(CUSTOMIZED)))
    fitting = Adapter(replace(adapter.info, fingerprint=own), adapter.pairs)
    for amount, warned in ((0.0, 1), (0.5, 0), (1.0, 0)):
        injected = inject_checkpoint(model, WEIGHTS / CUSTOMIZED, amount).clone()
        assert len(apply_spatial_adapter(injected, fitting, 1.0, "auto", "a")[1]) == warned


# ------------------------------------------------------------------------------ injection
def test_amount_1_is_the_customized_checkpoint_itself(model):
    injected = inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 1.0)
    expected = world.sample(world.moving(world.plain(CUSTOMIZED)))
    assert torch.equal(world.sample(injected), expected)
    assert world.difference(world.sample(model), expected) > 0.01


def test_amount_0_is_the_model_itself(model):
    nothing = inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 0.0)
    assert torch.equal(world.sample(nothing), world.sample(model))
    itself = inject_checkpoint(model, WEIGHTS / BASE, 0.3)
    assert world.difference(world.sample(itself), world.sample(model)) < SAME


def test_a_mixture_is_linear_in_the_weights(model):
    half = inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 0.25)
    a, b = (unpatched_unet(world.plain(name)) for name in (BASE, CUSTOMIZED))
    key = "diffusion_model.middle_block.0.in_layers.2.weight"
    world.sample(half)
    loaded = comfy.utils.get_attr(half.model, key)
    name = key.removeprefix("diffusion_model.")
    assert torch.allclose(loaded, 0.75 * a[name] + 0.25 * b[name], atol=1e-6)


def test_a_lora_survives_injection(model):
    before = inject_checkpoint(with_lora(model), WEIGHTS / CUSTOMIZED, 1.0)
    after = with_lora(inject_checkpoint(model, WEIGHTS / CUSTOMIZED, 1.0))
    assert torch.equal(world.sample(before), world.sample(after))


def test_files_that_are_no_checkpoint_are_refused(model):
    with pytest.raises(UserError, match="motion module"):
        inject_checkpoint(model, WEIGHTS / MOTION_MODULE, 1.0)
