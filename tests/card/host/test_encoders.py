"""Photos and captions through ComfyUI's own VAE and CLIP on a card: what a set is cached from."""

import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import pytest
import torch
from torch import Tensor

from helpers import card
from helpers.real_size import random_tensor
from still_moving.training.sets.encoders import HostEncoder

SIDE, FRAMES = 32, 3
CAPTION = "a photo of a dog"
VAE = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    },
}  # fmt: skip  # ComfyUI's own words for it
CLIP = {
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "num_hidden_layers": 2,
}  # fmt: skip  # ComfyUI's own words for it
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.05}


def new_vae(state: dict[str, Tensor], dtype: torch.dtype) -> comfy.sd.VAE:
    return comfy.sd.VAE(dict(state), config={"params": VAE}, dtype=dtype)


def new_clip(state: dict[str, Tensor] | None = None) -> comfy.sd.CLIP:
    target = comfy.supported_models_base.ClipTarget(
        comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel
    )
    options = {"clip_l_model_config": CLIP, "dtype": torch.float32}
    return comfy.sd.CLIP(target, model_options=options, state_dict=state or [])


def random_state(module: torch.nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: random_tensor(name, tuple(tensor.shape), generator)
        for name, tensor in module.state_dict().items()
    }


@pytest.fixture
def states(on_cpu) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random weights of both, by their own names."""
    with on_cpu():
        vae = new_vae({}, torch.float32).first_stage_model
        return random_state(vae), random_state(new_clip().cond_stage_model)


def encoded(states, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(latents of some frames, what a network reads of a caption)."""
    vae_state, clip_state = states
    encoder = HostEncoder(
        new_vae(vae_state, dtype), new_clip(clip_state), lambda latents: latents * 0.18215
    )
    frames = torch.rand(FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return encoder.encode_frames(frames), encoder.encode_prompt(CAPTION)


@pytest.mark.parametrize("dtype", CLOSE)  # a card's default for a VAE is bf16
def test_a_set_is_cached_on_a_card_as_on_the_cpu(on_cpu, states, dtype, note_difference):
    with on_cpu():
        expected = encoded(states, torch.float32)
    with card.watch() as seen:
        found = encoded(states, dtype)
    assert seen.counted["h2d"] > 0
    for kind, there, here in zip(("latents", "text"), expected, found, strict=True):
        assert (here.device.type, here.dtype, here.shape) == ("cpu", torch.float32, there.shape)
        difference = float((here - there).norm() / there.norm())
        note_difference(f"cached {kind}, {dtype}", difference)
        assert difference <= CLOSE[dtype]
