"""A cached set is a pure function of folder, options and encoder; only what changed is encoded."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from still_moving.common.errors import UserError
from still_moving.demo.world import all_scenes, make_clip, make_still
from still_moving.training.sets.build import CacheOptions, build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.preflight import preflight
from still_moving.training.sets.store import load_set
from still_moving.worlds.shapes import latents as shapes

SCENES = all_scenes()
SIZE = 128  # the shapes world's image, in pixels


class Counting:
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
    return CacheOptions(**{"width": SIZE, "height": SIZE, "frames": 8, **more})


def to_image(pixels):
    return Image.fromarray((pixels * 255).round().to(torch.uint8).movedim(0, -1).numpy())


def write_still(folder, name, scene, seed=0):
    world = make_still(scene, torch.Generator().manual_seed(seed))
    to_image(shapes.enlarge(world)).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(scene.prompt)
    return world


def write_clip(folder, name, scene, seed=0):
    clip = make_clip(scene, torch.Generator().manual_seed(seed)).frames
    first, *rest = [to_image(frame) for frame in shapes.enlarge(clip)]
    first.save(
        folder / f"{name}.webp", save_all=True, append_images=rest, duration=40, lossless=True
    )
    (folder / f"{name}.txt").write_text(scene.prompt)
    return clip


def snapshot(folder):
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


@pytest.fixture
def stills(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    for index in range(4):
        write_still(folder, f"still {index}", SCENES[index * 7], index)
    return folder


def test_pixel_art_comes_back_exactly(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    world = write_still(folder, "a", SCENES[5])
    (item,) = build_set(folder, tmp_path / "out", ShapesEncoder(), options(), False).items
    quantized = (world * 255).round() / 255
    assert torch.allclose(shapes.decode_world(item.latents)[0], quantized, atol=1e-6)
    assert torch.equal(item.text, shapes.encode_prompt(SCENES[5].prompt))
    assert (item.caption, item.source) == (SCENES[5].prompt, "a.png")


def test_clips_keep_all_their_frames_in_order(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    clip = write_clip(folder, "a", SCENES[3])
    made = build_set(folder, tmp_path / "out", ShapesEncoder(), options(), False)
    assert made.kind == "clips"
    decoded = shapes.decode_world(made.items[0].latents)
    assert torch.allclose(decoded, (clip * 255).round() / 255, atol=1e-6)


def test_an_unchanged_folder_encodes_nothing_and_writes_nothing(stills, tmp_path):
    out = tmp_path / "out"
    made = build_set(stills, out, ShapesEncoder(), options(), False)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    counting = Counting()
    again = build_set(stills, out, counting, options(), False)
    assert (counting.frames, counting.prompts) == (0, [])
    assert_same_set(made, again)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_an_edit_encodes_only_what_changed_and_leaves_no_orphans(stills, tmp_path):
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options(), False)
    write_still(stills, "still 1", SCENES[7], seed=99)  # the same caption
    counting = Counting()
    edited = build_set(stills, out, counting, options(), False)
    assert (counting.frames, counting.prompts) == (1, [])
    (stills / "still 2.txt").write_text("blue square up fog")
    counting = Counting()
    edited = build_set(stills, out, counting, options(), False)
    assert (counting.frames, counting.prompts) == (0, ["blue square up fog"])
    (stills / "still 3.png").rename(stills / "other.png")
    (stills / "still 3.txt").rename(stills / "other.txt")
    counting = Counting()
    edited = build_set(stills, out, counting, options(), False)
    assert (counting.frames, counting.prompts) == (0, [])
    (stills / "still 0.png").unlink()
    edited = build_set(stills, out, counting, options(), False)
    assert (counting.frames, len(edited.items)) == (0, 3)
    fresh = build_set(stills, tmp_path / "fresh", ShapesEncoder(), options(), False)
    assert_same_set(edited, fresh)
    assert snapshot(out) == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"width": 64}, 4),
        ({"crop": "random"}, 4),
        ({"seed": 9}, 0),  # nothing is drawn
        ({"frames": 3, "stride": 2, "start": "random"}, 0),  # stills have no frames to choose
        ({"prompt": "red circle"}, 0),  # all have captions
    ],
)
def test_only_options_that_matter_encode_again(stills, tmp_path, change, count):
    build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    counting = Counting()
    build_set(stills, tmp_path / "out", counting, options(**change), False)
    assert (counting.frames, counting.prompts) == (count, [])


def test_the_result_does_not_depend_on_the_order_files_were_written(stills, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    paths = list(stills.iterdir())
    random.Random(1).shuffle(paths)
    for path in paths:
        shutil.copy(path, copy / path.name)
    more = options(crop="random", width=64)
    first = build_set(stills, tmp_path / "one", ShapesEncoder(), more, False)
    second = build_set(copy, tmp_path / "two", ShapesEncoder(), more, False)
    assert_same_set(first, second)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_equal_files_share_one_object_but_are_two_items(stills, tmp_path):
    shutil.copy(stills / "still 0.png", stills / "twin.png")
    shutil.copy(stills / "still 0.txt", stills / "twin.txt")
    made = build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    assert len({item.id for item in made.items}) == 5
    assert len(list((tmp_path / "out" / "objects").iterdir())) == 4 + 4


KILLED_BUILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from helpers.pack import load_pack
load_pack()
from still_moving.training.sets import build, store
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.common import atomic

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

class Dying(ShapesEncoder):
    calls = 0
    def encode_frames(self, frames):
        Dying.calls += 1
        if sys.argv[4] == "encoding" and Dying.calls == 2: die()
        return super().encode_frames(frames)

if sys.argv[4] == "before set.json": store.SetWriter.commit = die
if sys.argv[4] == "while writing set.json":
    write = store.atomic_write_text
    def half(path, text):
        atomic.os.replace = die
        write(path, text)
    store.atomic_write_text = half
options = build.CacheOptions(width=128, height=128, crop="random")
build.build_set(sys.argv[2], sys.argv[3], Dying(), options, False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("when", ["encoding", "before set.json", "while writing set.json"])
def test_a_killed_build_leaves_the_old_set_and_is_continued(stills, tmp_path, when):
    out = tmp_path / "out"
    old = build_set(stills, out, ShapesEncoder(), options(), False)
    tests = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", KILLED_BUILD, str(tests), str(stills), str(out), when]
    process = subprocess.run(command, capture_output=True, check=False, env=dict(os.environ))
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert_same_set(load_set(out), old)
    counting = Counting()
    new = build_set(stills, out, counting, options(crop="random"), False)
    assert counting.frames == (3 if when == "encoding" else 0)
    assert_same_set(
        new, build_set(stills, tmp_path / "fresh", ShapesEncoder(), options(crop="random"), False)
    )
    assert snapshot(out) == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize("error", [UserError("x", "a", "b", "c"), RuntimeError("out of memory")])
def test_a_build_that_fails_leaves_no_trace(stills, tmp_path, error):
    class Failing(Counting):
        def encode_frames(self, frames):
            if self.frames == 2:
                raise error
            return super().encode_frames(frames)

    fresh = tmp_path / "deep" / "er"
    with pytest.raises(type(error)):
        build_set(stills, fresh, Failing(), options(), False)
    assert not fresh.parent.exists()
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options(width=64), False)
    before = snapshot(out)
    with pytest.raises(type(error)):
        build_set(stills, out, Failing(), options(), False)
    assert snapshot(out) == before


def test_latents_that_are_not_finite_are_refused(stills, tmp_path):
    class Broken(Counting):
        def encode_frames(self, frames):
            return super().encode_frames(frames) * float("nan")

    with pytest.raises(UserError, match="NaN"):
        build_set(stills, tmp_path / "out", Broken(), options(), False)
    assert not (tmp_path / "out").exists()


def test_missing_captions_are_listed_unless_there_is_a_prompt(stills, tmp_path):
    (stills / "still 1.txt").unlink()
    (stills / "still 3.txt").write_text("  \n")
    with pytest.raises(UserError, match=r"no caption for 2 files \(still 1\.png, still 3\.png\)"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    made = build_set(stills, tmp_path / "out", ShapesEncoder(), options(prompt=" red circle "))
    assert [item.caption for item in made.items][1::2] == ["red circle"] * 2
    assert made.items[0].caption == SCENES[0].prompt


def test_a_caption_the_encoder_refuses_is_named(stills, tmp_path):
    (stills / "still 1.txt").write_text("one two three four five six seven")
    with pytest.raises(UserError, match=r"still 1\.png: found 7 words, expected at most 6"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    assert not (tmp_path / "out").exists()


def test_unreadable_files_stop_the_build_or_are_left_out_when_asked(stills, tmp_path):
    (stills / "still 1.png").write_bytes((stills / "still 1.png").read_bytes()[:200])
    (stills / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"2 of 5 files.*still 1\.png.*text\.jpg"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    made = build_set(
        stills, tmp_path / "out", ShapesEncoder(), options(skip_unreadable=True), False
    )
    assert [item.source for item in made.items] == ["still 0.png", "still 2.png", "still 3.png"]
    for path in stills.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of 5 files usable"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(skip_unreadable=True), False)


def test_stills_and_clips_are_not_mixed_in_silence(stills, tmp_path):
    write_clip(stills, "clip", SCENES[0])
    with pytest.raises(UserError, match=r"4 stills \(still 0\.png\) and 1 clips \(clip\.webp\)"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(), False)
    for kind, other, count in (("stills", "clip", 4), ("clips", "still 0", 1)):
        with pytest.raises(UserError, match=other):
            build_set(stills, tmp_path / "out", ShapesEncoder(), options(kind=kind), False)
        chosen = options(kind=kind, skip_unreadable=True)
        made = build_set(stills, tmp_path / f"{kind} set", ShapesEncoder(), chosen, False)
        assert (made.kind, len(made.items)) == (kind, count)


def test_short_clips_are_listed(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder, "short", SCENES[0])
    with pytest.raises(UserError, match=r"short\.webp: 4 frames"):
        build_set(folder, tmp_path / "out", ShapesEncoder(), options(stride=2), False)


def test_the_report_says_what_a_person_wants_to_know(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder, "a", SCENES[0])
    write_clip(folder, "b", SCENES[1])
    (folder / "b.txt").unlink()
    (folder / "c.mp4").write_bytes(b"")
    report = preflight(folder, options(width=256, fps=50.0))
    text = "\n".join(report.lines())
    for part in ("2 clips of 3 files", "128 x 128", "fps 25", "b.webp", "c.mp4", "enlarged 2.0"):
        assert part in text
    assert "frames repeat" in text
    data = report.to_json()
    assert (data["kind"], data["usable"], data["uncaptioned"]) == ("clips", 2, ["b.webp"])
    assert data["unusable"] == ["c.mp4"]
    assert data["entries"][0]["fps"] == pytest.approx(25)


def test_the_contact_sheet_shows_each_item_and_its_caption(stills, tmp_path):
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options(), False)
    with Image.open(out / "contact_sheet.png") as sheet:
        before = sheet.convert("RGB").copy()
    (stills / "still 3.txt").write_text("blue square up fog")
    write_still(stills, "still 4", SCENES[9])
    build_set(stills, out, ShapesEncoder(), options(), False)
    with Image.open(out / "contact_sheet.png") as sheet:
        after = sheet.convert("RGB").copy()
    assert after.width > before.width
    first = shapes.decode_world(load_set(out).items[0].latents)[0]
    background = [round(float(value) * 255) for value in first[:, 0, 0]]
    assert max(abs(a - b) for a, b in zip(background, after.getpixel((13, 40)), strict=True)) < 3


def test_captions_and_names_of_any_script_are_kept(stills, tmp_path):
    write_still(stills, "写真 été ☂", SCENES[9])
    (stills / "写真 été ☂.txt").write_text("красный, 円 \u202e x", encoding="utf-8")
    made = build_set(stills, tmp_path / "out é", ShapesEncoder(), options(), False)
    assert ("写真 été ☂.png", "красный, 円 \u202e x") in [(i.source, i.caption) for i in made.items]


def test_out_may_not_be_the_folder_nor_a_file(stills, tmp_path):
    with pytest.raises(UserError, match="another folder"):
        build_set(stills, stills / ".." / "stills", ShapesEncoder(), options(), False)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot be written"):
            build_set(stills, out, ShapesEncoder(), options(), False)
    assert (tmp_path / "file").read_text() == "mine"


def test_other_files_in_out_are_left_alone(stills, tmp_path):
    out = tmp_path / "out"
    (out / "objects").mkdir(parents=True)
    mine = [out / "notes.md", out / "objects" / "mine.safetensors", out / ".mine.tmp"]
    for path in mine:
        path.write_text("mine")
    build_set(stills, out, ShapesEncoder(), options(), False)
    assert [path.read_text() for path in mine] == ["mine"] * 3


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"width": 100}, "multiple of 8"),
        ({"height": 0}, "multiple of 8"),
        ({"kind": "both"}, "stills or clips"),
        ({"crop": "left"}, "centre or random"),
        ({"prompt": " "}, "prompt"),
        ({"frames": 0}, "frames"),
    ],
)
def test_options_are_checked_where_they_are_made(wrong, match):
    with pytest.raises(UserError, match=match):
        options(**wrong)


def test_real_photos_and_clips_become_sets(shared_data, tmp_path):
    prompt = options(prompt="a photo of sks dog", width=64, height=64)
    photos = build_set(
        shared_data / "photos" / "dog", tmp_path / "photos", ShapesEncoder(), prompt, False
    )
    assert (photos.kind, len(photos.items)) == ("stills", 5)
    assert {tuple(item.latents.shape) for item in photos.items} == {(1, 4, 8, 8)}
    prompt = options(prompt="a clip", width=64, height=64, fps=8.0)
    clips = build_set(shared_data / "clips", tmp_path / "clips", ShapesEncoder(), prompt, False)
    assert (clips.kind, len(clips.items)) == ("clips", 6)
    for item in clips.items:
        assert item.latents.shape == (8, 4, 8, 8)
        assert (item.latents[1:] - item.latents[:-1]).abs().mean() > 0
