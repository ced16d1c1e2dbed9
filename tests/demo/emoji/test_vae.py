"""The emoji world's VAE and its file."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from still_moving.adapters.files.tensors import read_tensors
from still_moving.demo.emoji.vae import (
    SD15_SCALE,
    decode,
    encode,
    load_vae,
    new_vae,
    preview,
    reconstruction_loss,
    save_vae,
)
from still_moving.worlds.colours import decode_world, encode_world


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return new_vae(width=8).eval().requires_grad_(requires_grad=False)


def test_a_narrow_vae_is_the_same_function_in_a_file_of_taesds_width(vae, tmp_path):
    pixels = torch.rand(1, 3, 32, 32)
    save_vae(tmp_path / "vae.safetensors", vae)
    tensors, _ = read_tensors(tmp_path / "vae.safetensors")
    assert tensors["taesd_encoder.1.conv.0.weight"].shape == (64, 64, 3, 3)
    assert tensors["taesd_decoder.1.weight"].shape == (64, 4, 3, 3)
    assert float(tensors["vae_scale"]) == pytest.approx(SD15_SCALE)
    loaded = load_vae(tmp_path / "vae.safetensors")
    assert loaded.state_dict()["encoder.layers.0.weight"].shape[0] == 8
    latents = encode(vae, pixels)
    torch.testing.assert_close(encode(loaded, pixels), latents, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(decode(loaded, latents), decode(vae, latents), atol=1e-3, rtol=1e-2)


def test_the_small_picture_is_read_as_in_the_shapes_world():
    small = torch.rand(2, 3, 4, 4)
    assert torch.allclose(preview(encode_world(small)), 2 * small - 1, atol=1e-5)
    assert torch.allclose(decode_world(encode_world(small)), small, atol=1e-5)


def test_a_perfect_redrawing_costs_its_latents_alone(vae):
    def perfect(pixels) -> Any:
        """Latents that hold the small picture; decoding gives what was encoded."""

        def encoder(given):
            return encode_world(avg_pool2d(given / 2 + 0.5, 8))

        return SimpleNamespace(encoder=encoder, decoder=lambda latents: pixels)

    pixels = 2 * torch.rand(2, 3, 64, 64) - 1
    generator = torch.Generator().manual_seed(0)
    best = reconstruction_loss(perfect(pixels), pixels, generator)
    assert best < 2e-3
    assert reconstruction_loss(perfect(-pixels), pixels, generator) > 0.5
    assert reconstruction_loss(vae, pixels, generator) > best
