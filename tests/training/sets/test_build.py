"""A cached set is a pure function of folder, options and encoder; only what changed is encoded."""

import random
import shutil

import pytest
import torch
from PIL import Image

from helpers.bars import bar, write_video
from helpers.set_folders import (
    SCENES,
    CountingEncoder,
    assert_same_set,
    options,
    snapshot,
    write_clip,
    write_still,
)
from helpers.showing import write
from still_moving.adapters.files.tensors import file_hash
from still_moving.training.sets.build import build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.store import content_key, load_set
from still_moving.worlds.shapes import latents as shapes


def test_pixel_art_comes_back_exactly(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    world = write_still(folder, "a", SCENES[5])
    (item,) = build_set(folder, tmp_path / "out", ShapesEncoder(), options()).items
    quantized = (world * 255).round() / 255
    assert torch.allclose(shapes.decode_world(item.latents)[0], quantized, atol=1e-6)
    assert torch.equal(item.text, shapes.encode_prompt(SCENES[5].prompt))
    assert (item.caption, item.source) == (SCENES[5].prompt, "a.png")


def test_clips_keep_all_their_frames_in_order(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    clip = write_clip(folder, "a", SCENES[3])
    loaded = build_set(folder, tmp_path / "out", ShapesEncoder(), options())
    assert loaded.kind == "clips"
    decoded = shapes.decode_world(loaded.items[0].latents)
    assert torch.allclose(decoded, (clip * 255).round() / 255, atol=1e-6)


def test_an_unchanged_folder_encodes_nothing_and_writes_nothing(stills, tmp_path):
    out = tmp_path / "out"
    first = build_set(stills, out, ShapesEncoder(), options())
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    counting = CountingEncoder()
    again = build_set(stills, out, counting, options())
    assert (counting.frames, counting.prompts) == (0, [])
    assert_same_set(first, again)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_an_edit_encodes_only_what_changed_and_leaves_no_orphans(stills, tmp_path):
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options())
    write_still(stills, "still 1", SCENES[7], seed=99)  # the same caption
    counting = CountingEncoder()
    edited = build_set(stills, out, counting, options())
    assert (counting.frames, counting.prompts) == (1, [])
    (stills / "still 2.txt").write_text("blue square up fog", encoding="utf-8")
    counting = CountingEncoder()
    edited = build_set(stills, out, counting, options())
    assert (counting.frames, counting.prompts) == (0, ["blue square up fog"])
    (stills / "still 3.png").rename(stills / "other.png")
    (stills / "still 3.txt").rename(stills / "other.txt")
    counting = CountingEncoder()
    edited = build_set(stills, out, counting, options())
    assert (counting.frames, counting.prompts) == (0, [])
    (stills / "still 0.png").unlink()
    edited = build_set(stills, out, counting, options())
    assert (counting.frames, len(edited.items)) == (0, 3)
    fresh = build_set(stills, tmp_path / "fresh", ShapesEncoder(), options())
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
    build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    counting = CountingEncoder()
    build_set(stills, tmp_path / "out", counting, options(**change))
    assert (counting.frames, counting.prompts) == (count, [])


def test_the_result_does_not_depend_on_the_order_files_were_written(stills, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    paths = list(stills.iterdir())
    random.Random(1).shuffle(paths)
    for path in paths:
        shutil.copy(path, copy / path.name)
    more = options(crop="random", width=64)
    first = build_set(stills, tmp_path / "one", ShapesEncoder(), more)
    second = build_set(copy, tmp_path / "two", ShapesEncoder(), more)
    assert_same_set(first, second)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_equal_files_share_one_object_but_are_two_items(stills, tmp_path):
    shutil.copy(stills / "still 0.png", stills / "twin.png")
    shutil.copy(stills / "still 0.txt", stills / "twin.txt")
    loaded = build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    assert len({item.id for item in loaded.items}) == 5
    assert len(list((tmp_path / "out" / "objects").iterdir())) == 4 + 4


def test_the_contact_sheet_shows_each_item_and_its_caption(stills, tmp_path):
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options())
    with Image.open(out / "contact_sheet.png") as sheet:
        before = sheet.convert("RGB").copy()
    (stills / "still 3.txt").write_text("blue square up fog", encoding="utf-8")
    write_still(stills, "still 4", SCENES[9])
    build_set(stills, out, ShapesEncoder(), options())
    with Image.open(out / "contact_sheet.png") as sheet:
        after = sheet.convert("RGB").copy()
    assert after.width > before.width
    first = shapes.decode_world(load_set(out).items[0].latents)[0]
    background = [round(float(value) * 255) for value in first[:, 0, 0]]
    assert max(abs(a - b) for a, b in zip(background, after.getpixel((13, 40)), strict=True)) < 3


def test_captions_and_names_of_any_script_are_kept(stills, tmp_path):
    write_still(stills, "写真 été ☂", SCENES[9])
    (stills / "写真 été ☂.txt").write_text("красный, 円 \u202e x", encoding="utf-8")
    loaded = build_set(stills, tmp_path / "out é", ShapesEncoder(), options())
    kept = [(item.source, item.caption) for item in loaded.items]
    assert ("写真 été ☂.png", "красный, 円 \u202e x") in kept


def test_real_photos_and_clips_become_sets(shared_data, tmp_path):
    prompt = options(prompt="a photo of sks dog", width=64, height=64)
    photos = build_set(shared_data / "photos" / "dog", tmp_path / "photos", ShapesEncoder(), prompt)
    assert (photos.kind, len(photos.items)) == ("stills", 5)
    assert {tuple(item.latents.shape) for item in photos.items} == {(1, 4, 8, 8)}
    prompt = options(prompt="a clip", width=64, height=64, fps=8.0)
    clips = build_set(shared_data / "clips", tmp_path / "clips", ShapesEncoder(), prompt)
    assert (clips.kind, len(clips.items)) == ("clips", 6)
    for item in clips.items:
        assert item.latents.shape == (8, 4, 8, 8)
        assert (item.latents[1:] - item.latents[:-1]).abs().mean() > 0


def test_objects_of_older_versions_are_found_again(stills, tmp_path):
    """Their names are written out: only a file whose pixels came out otherwise has another."""
    write_video(tmp_path / "plain.mkv", "libx264", "yuv420p", [bar(i) for i in range(8)])
    clips = tmp_path / "clips"
    clips.mkdir()
    write(clips / "mirrored.mp4", [bar(i) for i in range(8)], matrix=(-1, 0, 0, 1))
    (tmp_path / "plain.mkv").rename(clips / "plain.mkv")
    for folder, kind in ((stills, "stills"), (clips, "clips")):
        fps = 8.0 if kind == "clips" else None
        chosen = options(prompt="red circle left night", fps=fps, frames=2)
        out = tmp_path / f"{kind} set"
        build_set(folder, out, ShapesEncoder(), chosen)
        encoder = ShapesEncoder().id
        there = {path.stem for path in (out / "objects").iterdir()}
        for path in folder.iterdir():
            if path.suffix == ".txt":
                continue
            decoding, digest = chosen.decoding(kind), file_hash(path)
            key = content_key("latents", 1, kind, decoding, digest, encoder)
            assert (key in there) == (path.stem != "mirrored"), path
        assert content_key("text", "red circle left night", encoder) in there or kind == "stills"
