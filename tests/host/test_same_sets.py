"""A folder gives the nodes and the command line the same set, to the last byte."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.bars import bar
from helpers.set_folders import SCENES, write_clip, write_still
from helpers.showing import corners, flat, write
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.cli import main
from still_moving.nodes.sets.folders import ClipSet, ImageSet
from still_moving.nodes.shared import places
from still_moving.training.sets.build import CacheOptions
from still_moving.training.sets.preflight import preflight

SIZE = {"width": 64, "height": 128, "crop": "random"}
PROMPT = "red circle left night"


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")


def write_stills(folder):
    """One of every kind that is treated on its own, and captions from everywhere."""
    for index in (10, 2, 1):
        write_still(folder, f"still {index}", SCENES[index])
    (folder / "still 2.txt").rename(folder / "still 2.CAPTION")
    (folder / "still 10.txt").unlink()
    exif = Image.Exif()
    exif[0x0112] = 5
    Image.fromarray(corners()).save(folder / "turned.tiff", exif=exif)
    Image.fromarray(np.dstack([corners(), corners()[..., 0]])).save(folder / "clear.PNG")
    row = {"file_name": "turned.tiff", "text": "blue square up fog"}
    (folder / "metadata.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (folder / "more").mkdir()
    (folder / "sound.mp3").write_bytes(b"x")


def write_clips(folder):
    write_clip(folder, "clip 1", SCENES[0])
    write(folder / "mirrored.mp4", [bar(i) for i in range(10)], matrix=(0, 1, 1, 0))
    write(folder / "wide.avi", [corners()] * 10, aspect="16/11")
    clear = np.dstack([corners(), corners()[..., 0]])
    write(folder / "clear.mov", [clear] * 10, "qtrle", "argb")
    colours = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    frames = [flat("yuv420p10le", 400 + 9 * i, 512, 512) for i in range(10)]
    write(folder / "hdr.mkv", frames, "ffv1", "yuv420p10le", colours=colours)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


KINDS = {
    "stills": (ImageSet, write_stills, {}, []),
    "clips": (
        ClipSet,
        write_clips,
        {"frames": 3, "fps": 10.0, "stride": 1},
        ["--frames", "3", "--fps", "10"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_node_and_command_make_the_same_set(tmp_path, kind, capsys):
    node, fill, more, options = KINDS[kind]
    folder = tmp_path / "in"
    folder.mkdir()
    fill(folder)
    cached = node.execute(
        clip=load_clip(), vae=ShapesVAE(), folder=str(folder), captions=PROMPT, **SIZE, **more
    ).result[0]
    command = ["cache", folder, tmp_path / "out", "--shapes", "--prompt", PROMPT, "--kind", kind]
    command += ["--width", 64, "--height", 128, "--crop", "random", *options]
    assert main([str(word) for word in command]) == 0
    made = files(tmp_path / "out")
    assert made == files(cached.folder)
    assert len(json.loads(made["set.json"])["items"]) == 5
    # And the command prints what the node is given.
    chosen = CacheOptions(kind=kind, prompt=PROMPT, **SIZE, **more)
    report, printed = preflight(folder, chosen), capsys.readouterr().out
    said = [*report.left, *(str(note) for entry in report.entries for note in entry.notes)]
    assert said
    assert all(note in printed for note in said)
