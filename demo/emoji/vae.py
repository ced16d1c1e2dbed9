"""The emoji world's VAE: TAESD's layout, trained from nothing, and its file.

TAESD (github.com/madebyollin/taesd) is a VAE without attention or noise; ComfyUI's Load VAE knows
it by its names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F

from ...adapters.files.tensors import read_tensors, write_tensors
from ...worlds.colours import FRAME, SCALE
from ...worlds.layout import FACTOR, LATENT_CHANNELS
from ..optimize import Keep, optimize
from .pictures import Emoji, random_place
from .subjects import BACKGROUNDS, LOOKS, SUBJECTS, Scene

WIDTH = 64  # TAESD's; a narrower one is written with channels of zeros
SD15_SCALE = 0.18215  # so that ComfyUI's SD1.5 reads the latents as they are
_CROP = 64
_NOISE = 0.1  # on the latents: what the UNet leaves of it does not show
_LARGE = 1e-3  # weight of the latents' squares, which keeps them near unit variance
# Weight of the colours that latents show by a fixed map. Without it, a thousand steps go by before
# red and green are told apart, and previews need a map of their own.
_COLOURS = 0.5
_EDGES = 1.0  # weight of differences between neighbours, which keeps eyes sharp


def new_vae(width: int = WIDTH) -> AutoencoderTiny:
    widths = (width,) * 4
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 3, 3, 3),
        num_decoder_blocks=(3, 3, 3, 1),
        latent_channels=LATENT_CHANNELS,
    )


def on_device(vae: AutoencoderTiny, device: torch.device) -> AutoencoderTiny:
    parts: nn.Module = nn.ModuleList([vae])  # diffusers' own ``to`` is typed to take no device
    parts.to(device)
    parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return vae


def train_vae(
    emoji: Emoji, path: Path, device: torch.device, *, steps: int, batch: int, width: int,
    lr: float, keep: Path, minutes: float,
) -> None:  # fmt: skip  # what, where, then how
    """The VAE, on crops of every look; written in TAESD's layout."""
    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(5)
    vae = on_device(new_vae(width), device)
    crops = random_crops(emoji, batch, generator)

    def loss() -> Tensor:
        pixels = next(crops).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return reconstruction_loss(vae, pixels, generator)

    kept = Keep(keep, (generator,), minutes)
    average = optimize(vae, loss, steps=steps, lr=lr, ema=0.998, label="VAE", keep=kept)
    save_vae(path, average.module)


def random_crops(emoji: Emoji, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of crops (size, 3, _CROP, _CROP) of stills and of clips' frames in -1..1."""

    def pick(names) -> str:
        return names[int(torch.randint(len(names), (), generator=generator))]

    while True:
        crops = []
        for _ in range(size):
            scene = Scene(pick(SUBJECTS), pick(LOOKS), pick(tuple(BACKGROUNDS)))
            place = random_place(generator)
            x, y, frame, moving = torch.randint(0, 65, (4,), generator=generator).tolist()
            if scene.look == "3d" and moving % 2:
                picture = emoji.frame(scene, frame, place)
            else:
                picture = emoji.still(scene, place)
            crops.append(picture[:, y : y + _CROP, x : x + _CROP])
        yield 2 * torch.stack(crops) - 1


def reconstruction_loss(vae: AutoencoderTiny, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """L1 of colours and edges, of what noisy latents decode to. pixels: (n, 3, h, w) in -1..1."""
    latents = vae.encoder(pixels)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    drawn = vae.decoder(latents + _NOISE * noise)
    error = drawn - pixels
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    small = preview(latents) - F.avg_pool2d(pixels, FACTOR)
    plain = error.abs().mean() + _EDGES * edges + _COLOURS * small.abs().mean()
    return plain + _LARGE * latents.square().mean()


def preview(latents: Tensor) -> Tensor:
    """The small picture (n, 3, h, w) in -1..1 that latents hold, by the shapes world's map."""
    return torch.einsum("lc,nlhw->nchw", FRAME.to(latents), latents) / SCALE


def save_vae(path: Path, vae: nn.Module) -> None:
    """Write it as TAESD's two halves, fp16, as wide as ComfyUI's class is."""
    tensors = {_taesd_name(k): _widened(k, v).half() for k, v in vae.state_dict().items()}
    scales = {"vae_scale": torch.tensor(SD15_SCALE), "vae_shift": torch.tensor(0.0)}
    write_tensors(path, tensors | scales, {"description": "The emoji world: VAE"})


def load_vae(path: Path) -> AutoencoderTiny:
    """Inverse of ``save_vae``, but for channels of zeros."""
    tensors, _ = read_tensors(path)
    width = int(tensors["taesd_encoder.0.weight"].flatten(1).any(1).sum())
    vae = new_vae(width)
    found = {}
    for name, own in vae.state_dict().items():
        given = tensors[_taesd_name(name)].float()
        found[name] = given[tuple(slice(side) for side in own.shape)].clone()
    vae.load_state_dict(found)
    return vae.eval().requires_grad_(requires_grad=False)


def _taesd_name(name: str) -> str:
    """diffusers' decoder has its clamp outside the list of layers, TAESD's is the first of them."""
    half, _, number, rest = name.split(".", 3)
    return f"taesd_{half}.{int(number) + (half == 'decoder')}.{rest}"


def _widened(name: str, tensor: Tensor) -> Tensor:
    """With channels of zeros up to TAESD's width: the same function."""
    ends = {"encoder.layers.0": (1, 0), "encoder.layers.14": (0, 1)}
    ends |= {"decoder.layers.0": (1, 0), "decoder.layers.18": (0, 1)}
    out, into = ends.get(name.rsplit(".", 1)[0], (1, 1))
    shape = list(tensor.shape)
    more = [(WIDTH - shape[0]) * out, (WIDTH - shape[1]) * into if len(shape) > 1 else 0]
    padding = [0, 0] * (len(shape) - 2) + ([0, more[1]] if len(shape) > 1 else []) + [0, more[0]]
    return F.pad(tensor.detach().float().cpu(), padding)


@torch.no_grad()
def encode(vae: AutoencoderTiny, pixels: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) in 0..1 to latents (n, 4, h / 8, w / 8) as the UNet reads them."""
    return vae.encoder(2 * pixels - 1)


@torch.no_grad()
def decode(vae: AutoencoderTiny, latents: Tensor) -> Tensor:
    """Inverse of ``encode``, clamped to 0..1."""
    return (vae.decoder(latents) / 2 + 0.5).clamp(0, 1)
