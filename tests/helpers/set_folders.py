"""Folders of shapes as an artist would have them, and an encoder that counts its work."""

import torch
from PIL import Image

from still_moving.demo.world import all_scenes, make_clip, make_still
from still_moving.training.sets.build import CacheOptions
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.worlds.shapes import latents as shapes

SCENES = all_scenes()
SIZE = 128  # the shapes world's image, in pixels


class CountingEncoder:
    """The shapes encoder, keeping count of what it was asked for."""

    factor = 8

    def __init__(self):
        self.real = ShapesEncoder()
        self.id = self.real.id
        self.frames, self.prompts = 0, []

    def encode_frames(self, frames):
        self.frames += 1
        return self.real.encode_frames(frames)

    def encode_prompt(self, text):
        self.prompts.append(text)
        return self.real.encode_prompt(text)


def options(**more):
    """The shapes world's size and length, and what else is chosen."""
    return CacheOptions(**{"width": SIZE, "height": SIZE, "frames": 8, **more})


def to_image(pixels):
    return Image.fromarray((pixels * 255).round().to(torch.uint8).movedim(0, -1).numpy())


def write_still(folder, name, scene, seed=0):
    """A picture of a scene with its caption; returns its pixels in the world's own size."""
    world = make_still(scene, torch.Generator().manual_seed(seed))
    to_image(shapes.enlarge(world)).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(scene.prompt, encoding="utf-8")
    return world


def write_clip(folder, name, scene, seed=0):
    """A lossless clip of a scene with its caption; returns its frames."""
    clip = make_clip(scene, torch.Generator().manual_seed(seed)).frames
    first, *rest = [to_image(frame) for frame in shapes.enlarge(clip)]
    first.save(
        folder / f"{name}.webp", save_all=True, append_images=rest, duration=40, lossless=True
    )
    (folder / f"{name}.txt").write_text(scene.prompt, encoding="utf-8")
    return clip


def snapshot(folder):
    """Every path below a folder, with the bytes of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def assert_same_set(first, second):
    assert (first.kind, first.encoder) == (second.kind, second.encoder)
    assert len(first.items) == len(second.items)
    for one, other in zip(first.items, second.items, strict=True):
        assert (one.id, one.caption, one.source) == (other.id, other.caption, other.source)
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.text, other.text)
