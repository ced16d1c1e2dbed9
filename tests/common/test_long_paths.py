"""A path that Windows finds too long is called that, and not a file that is missing."""

import errno
from pathlib import Path

import pytest

from helpers.like_windows import refuse_once
from helpers.small import motion_recipe
from still_moving.common import atomic, files
from still_moving.common.errors import UserError
from still_moving.common.long_paths import MOST_PATH, PathTooLong, too_long
from still_moving.common.names import length
from still_moving.training.jobs.job import Job, JobFolder, State
from still_moving.training.jobs.ticket import Published, read_published
from still_moving.training.worker.failure import lack_of_room

JOB = Job("dog", motion_recipe(), "/a/base", "/a/mm", {"frames": "/a/set"})
FOLDER = "C:\\Users\\firstname\\"


def said_by_windows(winerror: int | None, path: str, kind: type[OSError] = OSError) -> OSError:
    """winerror: None where the C library answers, as for open()."""
    error = kind(errno.ENOENT, "No such file or directory", path)
    if winerror is not None:
        error.winerror = winerror  # type: ignore[attr-defined]  # Windows' Python has it
    return error


def path_of(characters: int) -> str:
    return FOLDER + "x" * (characters - len(FOLDER))


@pytest.mark.parametrize("winerror", [None, 2, 3, 206])
def test_a_long_path_is_said_to_be_long(winerror):
    error = too_long(said_by_windows(winerror, path_of(271)), windows=True)
    assert isinstance(error, PathTooLong)
    for part in ("271 characters", "takes 259", "shorter name", "long paths"):
        assert part in str(error)
    assert not isinstance(error, FileNotFoundError)


@pytest.mark.parametrize(
    ("winerror", "path", "windows"),
    [
        (3, path_of(259), True),  # there is no such folder
        (206, path_of(247), True),
        (5, path_of(271), True),  # somebody has it open
        (3, path_of(271), False),
        (3, "\\\\?\\" + path_of(271), True),
    ],
)
def test_other_errors_mean_what_they_say(winerror, path, windows):
    assert too_long(said_by_windows(winerror, path), windows) is None


def test_a_folder_has_less_room():
    assert too_long(said_by_windows(206, path_of(248)), windows=True)


def test_characters_are_counted_as_windows_does():
    path = FOLDER + "𠮷" * 121
    assert length(path) == len(FOLDER) + 242 > 259
    assert too_long(said_by_windows(2, path), windows=True)


@pytest.mark.parametrize("missing_folder", ["", "checkpoints"])
def test_where_long_paths_are_on_a_missing_file_is_simply_missing(
    tmp_path, monkeypatch, missing_folder
):
    """``RtlAreLongPathsEnabled`` where it is to be had; else the folder that is there shows it."""
    monkeypatch.setattr(files, "WINDOWS", True)
    try:
        folder = JobFolder.create(long_folder(tmp_path), JOB)
    except UserError as error:
        pytest.skip(f"this Windows has long paths off: {error}")
    path = folder.path / missing_folder / "none"
    assert length(str(path)) > MOST_PATH
    with pytest.raises(FileNotFoundError):
        files.read_bytes(path)
    files.remove(path)
    files.remove_tree(path)
    assert folder.load() == JOB
    assert folder.read_state() == State()
    assert folder.read_control().wanted == "run"
    assert read_published(folder.path) == Published()


def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("y" * 200) / ("z" * 100)


def test_what_makes_a_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    folder = long_folder(tmp_path)
    refuse_once(monkeypatch, files.os, "makedirs", said_by_windows(206, str(folder)))
    with pytest.raises(UserError, match=f"{len(str(folder))} characters.*switch on long paths"):
        JobFolder.create(folder, JOB)


def test_what_writes_a_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    with (
        pytest.raises(PathTooLong, match="characters"),
        atomic.atomic_path(long_folder(tmp_path) / "a"),
    ):
        raise said_by_windows(None, str(long_folder(tmp_path) / "a"), FileNotFoundError)


def test_what_reads_a_file_says_so(tmp_path, monkeypatch):
    """A folder that a worker sees, and cannot read: its job ends with what to do."""
    monkeypatch.setattr(files, "WINDOWS", True)
    folder = JobFolder(long_folder(tmp_path))
    with pytest.raises(UserError, match="characters, where Windows takes 259"):
        folder.load()
    with pytest.raises(PathTooLong) as caught:
        files.read_text(folder.log)
    mendable = lack_of_room(folder, caught.value, "saving")
    assert "move ComfyUI to a folder with a shorter name" in str(mendable)
