"""Whoever is told how far a build is may stop it at any moment, and nothing half-made stays."""

import pytest
from PIL import Image

from helpers.bars import bar, write_video
from helpers.set_folders import SCENES, CountingEncoder, assert_same_set, options, snapshot
from helpers.set_folders import write_clip as write_scene
from still_moving.common.errors import UserError
from still_moving.training.sets import progress
from still_moving.training.sets.build import build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.preflight import preflight

LONG = 120  # frames


class Cancelled(BaseException):
    """As ComfyUI 0.33 cancels; 0.3.64 does it with an Exception."""


STOPS = [
    Cancelled(),
    RuntimeError("stop"),
    OSError(28, "no space on the other's disk"),
    UserError("other", "a stop", "none", "Go on."),
    KeyError("stop"),
]


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_BETWEEN_S", 0.0)
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(2):
        write_scene(folder, f"clip {index}", SCENES[index])
    return folder


class Teller:
    """Keeps what it was told; at call number ``stop`` it raises ``error``."""

    def __init__(self, stop: int = 0, error: BaseException | None = None):
        self.told, self.stop, self.error = [], stop, error

    def __call__(self, phase, done, total):
        self.told.append((phase, done, total))
        if self.error and len(self.told) == self.stop:
            raise self.error


def test_every_file_is_told_from_none_done_to_all(clips, tmp_path):
    teller = Teller()
    build_set(clips, tmp_path / "out", ShapesEncoder(), options(), teller)
    for phase in ("Looking", "Encoding"):
        done = [done for told, done, total in teller.told if told == phase and total == 2]
        assert (done[0], done[-1], done) == (0, 2, sorted(done))
        # And between the frames of each file.
        assert min(done.count(0), done.count(1)) >= 8


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_a_stop_at_any_moment_arrives_as_it_is_and_leaves_what_was(clips, tmp_path, error):
    counted = Teller()
    whole = build_set(clips, tmp_path / "whole", ShapesEncoder(), options(), counted)
    count = len(counted.told)
    before = snapshot(tmp_path)
    for stop in (1, 2, count // 4, count // 2, 3 * count // 4, count - 8, count - 1, count):
        with pytest.raises(type(error)) as raised:
            build_set(clips, tmp_path / "new", ShapesEncoder(), options(), Teller(stop, error))
        assert raised.value is error
        if stop < count:  # with the last call the set is whole
            assert snapshot(tmp_path) == before, stop
    # What is there already stays, too, and the next build makes the whole set.
    changed = options(width=64, height=64)
    for stop in (1, 12, 20):
        with pytest.raises(type(error)):
            build_set(clips, tmp_path / "whole", ShapesEncoder(), changed, Teller(stop, error))
    assert_same_set(build_set(clips, tmp_path / "whole", CountingEncoder(), options()), whole)


@pytest.mark.parametrize("ending", ["mkv", "gif"])
def test_inside_a_long_file_it_is_told_too(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(progress, "_BETWEEN_S", 0.0)
    path = tmp_path / f"long.{ending}"
    pictures = [bar(index % 10) for index in range(LONG)]
    if ending == "mkv":
        write_video(path, "libx264", "yuv420p", pictures)
    else:
        first, *rest = [Image.fromarray(picture) for picture in pictures]
        first.save(path, save_all=True, append_images=rest, duration=40)
    teller = Teller()
    preflight(tmp_path, options(prompt="red"), teller)
    assert len(teller.told) > LONG


def test_nobody_is_told_more_than_anyone_reads(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_BETWEEN_S", 3600.0)
    teller = Teller()
    build_set(clips, tmp_path / "out", ShapesEncoder(), options(), teller)
    assert len(teller.told) <= 2 * 3 + 1  # and before the captions are read


def test_the_set_comes_with_the_notes_of_its_preflight(clips, tmp_path):
    (clips / "bad.mp4").write_bytes(b"")
    chosen = options(width=256, height=256, skip_unreadable=True)
    notes = build_set(clips, tmp_path / "out", ShapesEncoder(), chosen).notes
    assert list(notes) == preflight(clips, chosen).notes()
    assert any("1 file left out: bad.mp4: unreadable" in note for note in notes)
    enlarged = "2 files enlarged: clip 0.webp (2.0 times from 128 x 128), clip 1.webp (2.0 times"
    assert any(note.startswith(enlarged) for note in notes)
