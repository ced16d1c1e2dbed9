"""The shapes world's latents as a VAE: exact both ways, and without weights."""

from __future__ import annotations

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...worlds.shapes import latents

BYTES_PER_PIXEL = 64  # more than either way needs


class Autoencoder(nn.Module):
    """Images in 0..1 to latents and back, 8 image pixels to a latent pixel."""

    def encode(self, images: Tensor) -> Tensor:
        return latents.encode_image(images)

    def decode(self, samples: Tensor) -> Tensor:
        return latents.decode_image(samples)


class ShapesVAE(comfy.sd.VAE):
    """ComfyUI's VAE, tiles and all, around the world's exact latents.

    It runs on the CPU in full precision, whatever the host's settings are.
    """

    def __init__(self) -> None:
        cpu = torch.device("cpu")
        # ComfyUI tells VAEs apart by their tensors; its smallest one is made over here.
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, device=cpu, dtype=torch.float32)
        self.first_stage_model = Autoencoder().eval()
        self.patcher = ModelPatcher(self.first_stage_model, load_device=cpu, offload_device=cpu)
        self.latent_channels = latents.CHANNELS
        self.downscale_ratio = self.upscale_ratio = latents.FACTOR
        self.process_input = self.process_output = lambda image: image
        self.memory_used_encode = lambda shape, dtype: BYTES_PER_PIXEL * shape[2] * shape[3]
        self.memory_used_decode = lambda shape, dtype: (
            BYTES_PER_PIXEL * shape[2] * shape[3] * latents.FACTOR**2
        )
        self.size = 0
