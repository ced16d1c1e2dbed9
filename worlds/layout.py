"""What a world's networks and latents look like: the numbers that tell one world from another."""

from __future__ import annotations

from dataclasses import dataclass

from .words import Words

LATENT_CHANNELS = 4  # as in SD
FACTOR = 8  # image pixels per latent pixel, as in SD


@dataclass(frozen=True)
class WorldLayout:
    """name: as files and messages have it. channels: of the UNet's levels, finest first, each a
    multiple of ComfyUI's 32 GroupNorm groups, with one layer per block and attention on every
    level. size: latent pixels a side; frames: of a clip. plain: a latent pixel is all that its
    pixels show, so that latents need no VAE."""

    name: str
    title: str
    channels: tuple[int, ...]
    words: Words
    size: int
    frames: int
    plain: bool = False

    @property
    def multiples(self) -> tuple[int, ...]:
        """Channels of each level, as multiples of the first's."""
        return tuple(width // self.channels[0] for width in self.channels)
