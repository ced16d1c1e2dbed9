"""What is wrong with a folder is said of all its files, before anything is encoded."""

import os

import pytest
from PIL import Image

from helpers.set_folders import SCENES, options, write_clip
from still_moving.common.errors import UserError
from still_moving.training.sets.build import build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.preflight import preflight


def test_missing_captions_are_listed_unless_there_is_a_prompt(stills, tmp_path):
    (stills / "still 1.txt").unlink()
    (stills / "still 3.txt").write_text("  \n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no caption for 2 files \(still 1\.png, still 3\.png\)"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    loaded = build_set(stills, tmp_path / "out", ShapesEncoder(), options(prompt=" red circle "))
    assert [item.caption for item in loaded.items][1::2] == ["red circle"] * 2
    assert loaded.items[0].caption == SCENES[0].prompt


def test_a_caption_the_encoder_refuses_is_named(stills, tmp_path):
    (stills / "still 1.txt").write_text("one two three four five six seven", encoding="utf-8")
    with pytest.raises(UserError, match=r"still 1\.png: found 7 words, expected at most 6"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    assert not (tmp_path / "out").exists()


def test_unreadable_files_stop_the_build_or_are_left_out_when_asked(stills, tmp_path):
    (stills / "still 1.png").write_bytes((stills / "still 1.png").read_bytes()[:200])
    (stills / "text.jpg").write_text("not a picture", encoding="utf-8")
    refusal = (
        r"2 of 5 files.*still 1\.png.*text\.jpg: unreadable data \(no picture of a known kind\)"
    )
    with pytest.raises(UserError, match=refusal):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    loaded = build_set(stills, tmp_path / "out", ShapesEncoder(), options(skip_unreadable=True))
    assert [item.source for item in loaded.items] == ["still 0.png", "still 2.png", "still 3.png"]
    for path in stills.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of 5 files usable"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options(skip_unreadable=True))


def test_stills_and_clips_are_not_mixed_in_silence(stills, tmp_path):
    write_clip(stills, "clip", SCENES[0])
    with pytest.raises(UserError, match=r"4 stills \(still 0\.png\) and 1 clips \(clip\.webp\)"):
        build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    for kind, other, count in (("stills", "clip", 4), ("clips", "still 0", 1)):
        with pytest.raises(UserError, match=other):
            build_set(stills, tmp_path / "out", ShapesEncoder(), options(kind=kind))
        chosen = options(kind=kind, skip_unreadable=True)
        loaded = build_set(stills, tmp_path / f"{kind} set", ShapesEncoder(), chosen)
        assert (loaded.kind, len(loaded.items)) == (kind, count)


def test_frames_without_a_rate_are_taken_as_they_are():
    plain = options(timed=False)
    assert (plain.fps, plain.stride) == (None, 1)
    assert plain.to_json() == options().to_json()  # sets that are cached are found by it


def test_short_clips_are_listed(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder, "short", SCENES[0])
    with pytest.raises(UserError, match=r"short\.webp: 4 frames"):
        build_set(folder, tmp_path / "out", ShapesEncoder(), options(stride=2))


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


def refusal(folder, **chosen):
    with pytest.raises(UserError) as refused:
        preflight(folder, options(**chosen)).check()
    return str(refused.value)


def test_what_changes_nothing_is_not_said(tmp_path):
    for name in ("Thumbs.db", "ehthumbs.db", "Icon\r", "desktop.ini"):
        if os.name != "nt" or name.isprintable():
            (tmp_path / name).write_bytes(b"of the system")
    for side in (63, 50):
        Image.new("RGB", (64, side)).save(tmp_path / f"{side}.png")
    report = preflight(tmp_path, options(width=64, height=64, prompt="all"))
    assert report.notes() == ["1 file enlarged: 50.png (1.3 times from 64 x 50)"]


def test_what_helps_is_said_once_for_all_or_what_was_expected_of_each(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        write_clip(folder, name, SCENES[0])
    for skip, more in ((False, " Or ask to skip such files."), (True, "")):
        said = refusal(folder, frames=16, prompt="all", skip_unreadable=skip)
        helps = "Lower frames (16), or use a longer clip."
        assert said.endswith(
            f"a.webp: 8 frames; b.webp: 8 frames, expected at least 16. {helps}{more}"
        )
    (folder / "a.txt").write_text("x" * 70_003, encoding="utf-8")
    said = refusal(folder, frames=16, prompt="all")
    said_alone = str(preflight(folder, options(frames=4, prompt="all")).problems[0].problem)
    assert said_alone.endswith("Shorten it, or remove it where it is no caption.")
    assert "a.txt: 70003 bytes (expected at most 65536); b.webp: 8 frames (expected at" in said
    (folder / "b.webp").unlink()
    (folder / "a.txt").write_bytes("un été".encode("cp1252"))
    said = refusal(folder)
    assert said.endswith("expected UTF-8 text. Save it again as UTF-8. Or ask to skip such files.")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"timed": False, "fps": 8.0}, "fps: found 8, expected 0 for connected frames"),
        ({"timed": False, "stride": 2}, "stride: found 2, expected 1 for connected frames"),
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
