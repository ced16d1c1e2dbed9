"""How often a build reads a file: one survey, one hash, and one decode of what is new."""

from collections import Counter

import pytest

from helpers.set_folders import SCENES, SIZE, options, write_still
from still_moving.cli import main
from still_moving.training.sets import build, decode, sheet
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.preflight import preflight


@pytest.fixture
def reads(monkeypatch):
    """How often each file was surveyed, decoded and hashed, by (what, file name)."""
    counts = Counter()

    def count(module, name, operation):
        real = getattr(module, name)

        def counted(path, *rest):
            counts[operation, path.name] += 1
            return real(path, *rest)

        monkeypatch.setattr(module, name, counted)

    count(decode, "survey", "survey")
    count(decode, "frames", "decode")
    count(build, "file_hash", "hash")
    return counts


def of(reads, name):
    return {operation: count for (operation, file), count in reads.items() if file == name}


def test_a_new_picture_is_surveyed_decoded_and_hashed_once(stills, tmp_path, reads):
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    for index in range(4):
        assert of(reads, f"still {index}.png") == {"survey": 1, "decode": 1, "hash": 1}


def test_a_finished_set_is_surveyed_and_hashed_once_and_not_decoded(stills, tmp_path, reads):
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    reads.clear()
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    assert set(reads.values()) == {1}
    assert {operation for operation, _ in reads} == {"survey", "hash"}


def test_a_report_that_is_there_already_is_not_made_again(stills, tmp_path, reads):
    report = preflight(stills, options())
    reads.clear()
    build.build_from(report, tmp_path / "out", ShapesEncoder())
    assert of(reads, "still 0.png") == {"decode": 1, "hash": 1}


def test_the_cache_command_surveys_each_file_once(stills, tmp_path, reads):
    command = ["cache", stills, tmp_path / "out", "--shapes", "--width", SIZE, "--height", SIZE]
    for step in ("new", "finished"):
        reads.clear()
        assert main([str(word) for word in command]) == 0
        decodes = {"decode": 1} if step == "new" else {}
        assert of(reads, "still 0.png") == {"survey": 1, "hash": 1, **decodes}


def test_pictures_that_were_encoded_before_are_decoded_once_for_a_new_sheet(
    stills, tmp_path, reads
):
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    write_still(stills, "still 4", SCENES[9])
    reads.clear()
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    for index in range(5):
        assert of(reads, f"still {index}.png") == {"survey": 1, "decode": 1, "hash": 1}


def test_only_what_the_sheet_shows_is_decoded_for_it(stills, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(sheet, "MAX_ITEMS", 2)
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    assert {of(reads, f"still {index}.png")["decode"] for index in range(4)} == {1}
    (stills / "still 3.txt").write_text(
        "blue square up fog", encoding="utf-8"
    )  # a new sheet, no new picture
    reads.clear()
    build.build_set(stills, tmp_path / "out", ShapesEncoder(), options())
    assert [of(reads, f"still {index}.png").get("decode", 0) for index in range(4)] == [1, 1, 0, 0]
