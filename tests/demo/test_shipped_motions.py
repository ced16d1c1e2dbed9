"""The clips that the pack ships, and the motions that were learned from them."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.motion_weights import load_motion_weights
from still_moving.adapters.files.tensors import file_hash
from still_moving.demo import train_motions as motions
from still_moving.demo import world
from still_moving.demo.evaluate import Network
from still_moving.demo.measure import match
from still_moving.demo.reference import SCENE, reference_clip, trajectory_match
from still_moving.demo.shipped_clips import COUNT, MOTION, MOTION_WORD, NATURAL, write_shipped_clips
from still_moving.training.network.lora import set_motion_scale
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import (
    BASE,
    CLIPS,
    MOTION_LORA,
    MOTION_MODULE,
    NEWMOVE,
    ONE_CLIP,
    SEVERAL_CLIPS,
    VMC,
    WEIGHTS,
)

CPU = torch.device("cpu")


def pixels(path) -> Tensor:
    """A clip's file: (frames, 128, 128, 3) uint8."""
    with Image.open(path) as clip:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(clip)]
    return torch.from_numpy(np.stack(frames))


# ---------------------------------------------------------------------------- clips
def test_the_clips_are_what_the_world_renders(tmp_path):
    write_shipped_clips(tmp_path)
    shipped, rendered = ({p.relative_to(f): p for p in f.rglob("*.*")} for f in (CLIPS, tmp_path))
    assert shipped.keys() == rendered.keys()
    assert len(shipped) == 2 * (1 + COUNT + NATURAL)
    for name, path in shipped.items():
        if path.suffix == ".txt":
            assert path.read_text(encoding="utf-8") == rendered[name].read_text(encoding="utf-8")
        else:
            assert torch.equal(pixels(path), pixels(rendered[name])), name


def test_the_one_clip_is_the_reference_to_the_pixel():
    drawn = latents.enlarge(reference_clip(MOTION).frames).mul(255).round().byte()
    assert torch.equal(pixels(CLIPS / ONE_CLIP / "000.webp"), drawn.permute(0, 2, 3, 1))
    assert (CLIPS / ONE_CLIP / "000.txt").read_text(encoding="utf-8") == SCENE.prompt


def test_every_clip_of_the_word_says_it_and_no_direction():
    captions = [p.read_text(encoding="utf-8") for p in (CLIPS / SEVERAL_CLIPS).glob("*.txt")]
    assert len(captions) == COUNT
    for caption in captions:
        assert MOTION_WORD in caption.split()
        assert not set(world.DIRECTIONS) & set(caption.split())


def test_the_clips_are_small():
    assert sum(path.stat().st_size for path in CLIPS.rglob("*.*")) <= 150_000


# ---------------------------------------------------------------------------- motions
@pytest.mark.parametrize("name", motions.MOTIONS)
def test_a_motion_belongs_to_the_shipped_network(name):
    path = WEIGHTS / name
    if name == MOTION_LORA:
        info = load_adapter(path, kind="motion").info
    else:
        info = load_motion_weights(path).info
        assert info.checkpoint == file_hash(WEIGHTS / BASE)
    assert info.base == "shapes"
    assert info.motion_module == file_hash(WEIGHTS / MOTION_MODULE)


def test_the_word_of_the_motion_is_in_its_file():
    assert load_motion_weights(WEIGHTS / NEWMOVE).info.token == MOTION_WORD
    assert load_motion_weights(WEIGHTS / VMC).info.token == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", motions.MOTIONS)
def test_a_training_writes_its_file(name, tmp_path):
    for needed in (BASE, MOTION_MODULE):
        (tmp_path / needed).symlink_to(WEIGHTS / needed)
    motions.MOTIONS[name](tmp_path, CPU, steps=2)
    load = partial(load_adapter, kind="motion") if name == MOTION_LORA else load_motion_weights
    trained, shipped = load(tmp_path / name).info, load(WEIGHTS / name).info
    assert trained.steps == 2
    assert (trained.sites, trained.motion_module) == (shipped.sites, shipped.motion_module)


@cache
def likeness(word: str, count: int, **files) -> float:
    """How near clips of other scenes come to the motion: 1 is the same, 0 as far as standing still.

    word: what the prompts say in place of a direction. count: of prompts. files: what the base is
    given.
    """
    scenes = world.spread(world.all_scenes(("sand", "fog")), count)
    network = Network(WEIGHTS / BASE, CPU, **files)
    if "motion_adapter" in files:
        set_motion_scale(network.unet, 1.0)
    prompts = [f"{s.colour} {s.shape} {word} {s.look}" for s in scenes]
    clips = network.frames(prompts, range(count))
    return float(np.mean([match_of(clip, s) for clip, s in zip(clips, scenes, strict=True)]))


def match_of(frames: Tensor, scene: world.Scene) -> float:
    number = world.all_scenes((scene.look,)).index(scene)
    return trajectory_match(match(frames, scene.look, [number])[1][:, 0], MOTION)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("word", "count", "files"),
    [
        ("right", 4, {"motion_adapter": WEIGHTS / MOTION_LORA}),
        ("right", 4, {"motion_weights": WEIGHTS / VMC}),
        # What the base makes of the word differs from prompt to prompt: four do not tell.
        (MOTION_WORD, 16, {"motion_weights": WEIGHTS / NEWMOVE}),
    ],
    ids=["Customize-A-Video", "VMC", "NewMove"],
)
def test_other_things_move_as_the_clip_does(word, count, files):
    base, moved = likeness(word, count), likeness(word, count, **files)
    assert moved >= base + 0.3, f"{moved:.2f}, the base {base:.2f}"
