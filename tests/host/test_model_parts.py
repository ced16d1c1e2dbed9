"""What other nodes have put on a MODEL is seen where it is connected, and fp8 is no traceback."""

import comfy.hooks
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from comfy_extras.nodes_torch_compile import TorchCompileModel
from safetensors.torch import load_file, save_file

from helpers.host import world
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.host.injection import inject_checkpoint
from still_moving.adapters.host.model_parts import (
    injection_notes,
    not_in_weights,
    refuse_unstated_v,
    sampling_notes,
)
from still_moving.adapters.host.motion_module import (
    apply_motion_module,
    load_motion_module,
)
from still_moving.adapters.host.spatial_adapter import export_spatial_adapter
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.shared import baking
from still_moving.training.network.unet import build_unet, predict
from still_moving.training.sets.encoders import HostEncoder
from still_moving.worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS

pytestmark = pytest.mark.every_comfyui

LAYER = "diffusion_model.input_blocks.1.1.proj_in"
V = ("v_prediction", False)


def patched():
    model = world.plain()
    model.set_model_output_block_patch(lambda h, skip, _options: (h, skip))  # as FreeU does
    return model


def hooked():
    model, hook = world.plain(), comfy.hooks.create_hook_lora({}, 1.0, 0.0).hooks[0]
    model.add_hook_patches(hook, {f"{LAYER}.weight": ("diff", (torch.ones(64, 64, 1, 1),))})
    return model


def exchanged():
    model = world.plain()
    model.add_object_patch(LAYER, torch.nn.Identity())
    return model


def wrapped():
    model = world.plain()
    wrapper = lambda executor, *rest, **named: executor(*rest, **named)  # noqa: E731  # a wrapper
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "another pack", wrapper)
    return model


def around():
    model = world.plain()
    model.set_model_unet_function_wrapper(
        lambda apply, args: apply(args["input"], args["timestep"])
    )
    return model


PARTS = {
    "patches of attention or blocks": patched,
    "LoRA hooks": hooked,
    f"1 exchanged layers ({LAYER})": exchanged,
    "wrappers (another pack)": wrapped,
    "a wrapper around the network": around,
    "zero terminal SNR": lambda: ModelSamplingDiscrete().patch(world.plain(), "eps", True)[0],
}


@pytest.mark.parametrize("what", PARTS)
def test_what_training_does_not_see_is_said(what):
    (note,) = not_in_weights(PARTS[what]())
    assert what in note
    assert note in baking.check(PARTS[what]())


WEIGHTS_ALONE = {
    "plain": world.plain,
    "guided": lambda: RescaleCFG().patch(world.plain(), 0.7)[0],
    "sampled otherwise": lambda: ModelSamplingDiscrete().patch(world.plain(), *V)[0],
    "compiled": lambda: TorchCompileModel.execute(world.plain(), "inductor")[0],
    "moving": world.moving,
}


@pytest.mark.parametrize("make", WEIGHTS_ALONE.values(), ids=WEIGHTS_ALONE)
def test_what_changes_no_weights_is_not_warned_of(make):
    assert not_in_weights(make()) == []


# ---------------------------------------------------------------------------- what files say
@pytest.fixture
def of_v(tmp_path):
    """A checkpoint that says it predicts v."""
    tensors = {name: tensor.clone() for name, tensor in load_file(WEIGHTS / BASE).items()}
    save_file(tensors | {"v_pred": torch.empty(0)}, tmp_path / "v.safetensors")
    return tmp_path / "v.safetensors"


def test_a_checkpoint_of_v_that_is_sampled_as_epsilon_is_said_and_not_trained(of_v):
    """ComfyUI's loaders keep the file's name, and do not read the mark in an SD1.5 checkpoint."""
    model = world.plain()
    model.cached_patcher_init = (world.plain, (str(of_v),))
    (note,) = sampling_notes(model, "auto")
    assert "says it predicts v_prediction, sampled as epsilon" in note
    with pytest.raises(UserError, match="says it predicts v_prediction"):
        refuse_unstated_v(model)
    with pytest.raises(UserError, match="says it predicts v_prediction"):
        baking.predicted(model)
    (right,) = ModelSamplingDiscrete().patch(model, *V)
    assert sampling_notes(right, "auto") == []
    assert baking.predicted(right)["prediction"] == "v_prediction"


def test_an_injected_checkpoint_that_predicts_something_else_is_said(of_v):
    (note,) = injection_notes(world.plain(), of_v)
    assert "says that it predicts v_prediction, the connected model epsilon" in note
    (right,) = ModelSamplingDiscrete().patch(world.plain(), *V)
    assert injection_notes(right, of_v) == []
    assert injection_notes(world.plain(), WEIGHTS / BASE) == []


def test_a_schedule_of_a_nodes_own_is_not_replaced_in_silence():
    plain = world.plain()
    assert sampling_notes(world.moving(), "auto") == []
    for kind in ("eps", "v_prediction", "lcm"):
        assert sampling_notes(ModelSamplingDiscrete().patch(plain, kind, True)[0], "auto") == []
    (changed,) = ModelSamplingDiscrete().patch(plain, "eps", False)
    sampling = changed.get_model_object("model_sampling")
    sampling.set_sigmas(sampling.sigmas * 1.5)
    (note,) = sampling_notes(changed, "auto")
    assert "own noise schedule" in note
    assert sampling_notes(changed, "model's own") == []


# ---------------------------------------------------------------------------- 8 bits
FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FP8)
def test_an_fp8_model_is_exported_for(tmp_path, dtype):
    adapter, model = world.spatial_adapter(), world.stored_as(dtype)
    export_spatial_adapter(model, adapter, tmp_path / "lora.safetensors", 1.0, "a")
    wide = world.built(
        {k: t.to(dtype).float() for k, t in read_unet(WEIGHTS / BASE).tensors.items()}
    )
    export_spatial_adapter(wide, adapter, tmp_path / "same.safetensors", 1.0, "a")
    ours, theirs = (read_tensors(tmp_path / f"{n}.safetensors")[0] for n in ("lora", "same"))
    assert all(torch.allclose(ours[k], theirs[k], rtol=1e-3, atol=1e-6) for k in theirs)


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_an_fp8_checkpoint_is_injected(tmp_path, amount):
    tensors = {name: t.to(FP8[0]) for name, t in load_file(WEIGHTS / CUSTOMIZED).items()}
    save_file(tensors, tmp_path / "fp8.safetensors")
    save_file({name: t.float() for name, t in tensors.items()}, tmp_path / "wide.safetensors")
    ours, wide = (
        dict(baking.effective_unet(inject_checkpoint(world.plain(), tmp_path / name, amount)))
        for name in ("fp8.safetensors", "wide.safetensors")
    )
    assert all(torch.equal(ours[name], wide[name]) for name in wide)


def test_latents_that_are_no_numbers_are_the_vaes():
    """In a graph there is no file to name."""
    encoder = HostEncoder(ShapesVAE(), load_clip(), lambda latents: latents, "shapes")
    with pytest.raises(UserError, match="VAE: found NaN"):
        encoder.encode_frames(torch.full((1, 3, 128, 128), float("nan")))


# ---------------------------------------------------------------------------- position tables
def test_a_files_own_position_tables_are_used_in_sampling_as_in_training(tmp_path):
    tensors, metadata = read_tensors(WEIGHTS / MOTION_MODULE)
    tensors |= {k: 0.7 * t.float().roll(2, 1) for k, t in tensors.items() if k.endswith(".pe")}
    path = tmp_path / "own.safetensors"
    write_tensors(path, tensors, metadata)
    moving = apply_motion_module(world.plain(), load_motion_module(path))
    frames, generator = 3, torch.Generator().manual_seed(1)
    x = torch.randn(frames, 4, 8, 8, generator=generator)
    text = world.text(world.PROMPT)
    moving.patch_model()
    try:
        at = moving.model.model_sampling.sigma(torch.tensor(400.0)).expand(frames)
        options = {"cond_or_uncond": [0], "wrappers": moving.wrappers}
        moving.model.current_patcher = moving
        with torch.no_grad():
            denoised = moving.model.apply_model(
                x, at, c_crossattn=text.expand(frames, -1, -1), transformer_options=options
            )
    finally:
        moving.unpatch_model()
    unet = build_unet(
        read_unet(WEIGHTS / BASE), read_motion_module(path), torch.float32, torch.device("cpu")
    )
    scaled = (x / (at[0] ** 2 + 1) ** 0.5).movedim(0, 1)[None]
    with torch.no_grad():
        noise = predict(unet, scaled, torch.tensor([400]), text)[0].movedim(1, 0)
    assert world.difference(denoised, x - at[0] * noise) < 1e-4
    plain = build_unet(
        read_unet(WEIGHTS / BASE), read_motion_module(WEIGHTS / MOTION_MODULE), torch.float32,
        torch.device("cpu"),
    )  # fmt: skip  # the files, then how
    with torch.no_grad():
        other = predict(plain, scaled, torch.tensor([400]), text)[0].movedim(1, 0)
    assert world.difference(noise, other) > 1e-2
