"""All worlds, by the name that files and readers know them by."""

from .layout import WorldLayout
from .words import Words

SHAPES = WorldLayout(
    "shapes",
    "The shapes world",
    channels=(64, 64),
    words=Words(6, 64, "Write colour, shape, direction, look, as in 'red circle left night'."),
    size=16,
    frames=8,
    plain=True,
)
EMOJI = WorldLayout(
    "emoji",
    "The emoji world",
    channels=(64, 128),
    words=Words(10, 128, "Name an emoji, a look and a background, as in 'cat face, 3d, sky'."),
    size=16,
    frames=16,
)
WORLDS: dict[str, WorldLayout] = {world.name: world for world in (SHAPES, EMOJI)}


def title_of(base: str) -> str:
    """What people call it. base: "sd15" or a world's name, as the readers of files have it."""
    world = WORLDS.get(base)
    return world.title[0].lower() + world.title[1:] if world else "SD1.5"
