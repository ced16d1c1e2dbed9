"""The emoji world in its smallest: three drawings, and two steps of training a stage."""

import os

import pytest
from PIL import Image

from still_moving.demo.emoji import customize, sets, train, vae
from still_moving.demo.emoji.subjects import FRAMES, HELD_OUT, LOOKS, SIZE, SUBJECTS
from still_moving.demo.emoji.train import Size, Stage, train_emoji

FEW = ("cat", "fox", "owl")
STAGE = Stage(steps=2, batch=2, lr=1e-3, minutes=5)
TINY = Size(STAGE, 8, STAGE, 1, STAGE, 1, STAGE, 3, STAGE, 2)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Of emoji that all look alike; ``collect`` writes the real ones."""
    folder = tmp_path_factory.mktemp("world")
    patch = Image.effect_noise((64, 64), 80).convert("RGBA")
    frames = [Image.new("RGBA", (SIZE, SIZE)) for _ in range(FRAMES)]
    for number, frame in enumerate(frames):
        frame.paste(patch, (16 + 2 * number, 32))
    first = folder / "emoji" / "clips" / f"{SUBJECTS[0]}.webp"
    first.parent.mkdir(parents=True)
    frames[0].save(first, save_all=True, append_images=frames[1:], lossless=True)
    for subject in (*SUBJECTS[1:], *HELD_OUT):
        os.link(first, first.with_name(f"{subject}.webp"))
    for look in LOOKS:
        still = folder / "emoji" / "stills" / look / "cat.webp"
        still.parent.mkdir(parents=True)
        frames[0].save(still, lossless=True)
        for subject in (*SUBJECTS, *HELD_OUT):
            if subject != "cat":
                os.link(still, still.with_name(f"{subject}.webp"))
    return folder


@pytest.fixture(scope="session")
def drafts(folder):
    with pytest.MonkeyPatch.context() as patch:
        for module in (sets, vae):
            patch.setattr(module, "SUBJECTS", FEW)
        patch.setattr(customize, "TAUGHT", FEW[:2])
        patch.setattr(train, "CPU", TINY)
        train_emoji("cpu", folder)
        made = {path: path.stat().st_mtime_ns for path in (folder / "drafts").glob("*.*")}
        train_emoji("cpu", folder)  # finds everything
        assert {path: path.stat().st_mtime_ns for path in (folder / "drafts").glob("*.*")} == made
    return folder / "drafts"


@pytest.fixture(scope="session")
def tiny():
    return TINY
