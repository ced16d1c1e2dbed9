"""Files and folders are touched so that Windows' refusals of an instant, or of read-only, pass."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from helpers.like_windows import IN_USE, MAPPED, refuse_once, refused
from helpers.small_files import listing
from still_moving.common import files, system
from still_moving.common.atomic import atomic_path, atomic_write_bytes

FOLDER_READ_ONLY, FILE_READ_ONLY = 0o555, 0o444
DAY_S = 86400.0


@pytest.mark.parametrize("winerror", [None, 5, 32, 33, 145, 303, 1224])
def test_what_windows_refuses_for_an_instant_passes_there_and_nowhere_else(winerror):
    kind = PermissionError if winerror in (None, 5, 32, 33) else OSError
    assert files.passes(refused(winerror, kind), True)
    assert not files.passes(refused(winerror, kind), False)


@pytest.mark.parametrize(
    ("kind", "winerror"),
    [(FileNotFoundError, 2), (FileNotFoundError, None), (OSError, 112), (OSError, 225),
     (OSError, 123), (OSError, None), (PermissionError, 19)],
)  # fmt: skip  # missing twice, full disk, virus, not a name, no number, write-protected disk
def test_what_is_meant_is_raised_at_once(kind, winerror, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    calls = []

    def action():
        calls.append(0)
        raise refused(winerror, kind)

    with pytest.raises(kind):
        files.patient(action)
    assert len(calls) == 1


@pytest.mark.parametrize("windows", [True, False])
def test_a_refusal_is_outlasted_on_windows_and_meant_elsewhere(windows, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", windows)
    refusals = [refused(IN_USE) for _ in range(3)]

    def busy() -> str:
        if refusals:
            raise refusals.pop()
        return "done"

    if windows:
        assert files.patient(busy) == "done"
    else:
        with pytest.raises(PermissionError):
            files.patient(busy)
        assert len(refusals) == 2


def test_patience_ends_and_a_machine_that_slept_meanwhile_still_gets_its_tries(monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    tries, clock = [], [0.0]
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(files.time, "monotonic", lambda: clock[0])

    def asleep():
        tries.append(0)
        clock[0] += DAY_S
        raise refused(IN_USE)

    with pytest.raises(PermissionError):
        files.patient(asleep)
    assert 10 <= len(tries) <= 20
    tries.clear()
    with pytest.raises(PermissionError):
        files.patient(asleep, patience_s=0)
    assert len(tries) == 1


@pytest.mark.usefixtures("like_windows")
def test_every_way_to_touch_a_file_outlasts_a_reader(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes("\ufeffsüß\r\n".encode())
    for refusal in (refused(), refused(IN_USE)):
        refuse_once(monkeypatch, files, "open", refusal)
        assert files.read_text(path) == "süß\r\n"  # Notepad's mark is no part of the text
        refuse_once(monkeypatch, files, "open", refusal)
        files.append_text(path, "")
        refuse_once(monkeypatch, files.os, "open", refusal)
        os.close(files.descriptor(path))
        refuse_once(monkeypatch, files.os, "replace", refusal, refused(MAPPED, OSError))
        atomic_write_bytes(tmp_path / "b", b"new")
        refuse_once(monkeypatch, files.os, "replace", refusal)
        files.replace(tmp_path / "b", tmp_path / "c")
        refuse_once(monkeypatch, files.shutil, "copyfile", refusal)
        files.copy(tmp_path / "c", tmp_path / "b")
        refuse_once(monkeypatch, files.os, "unlink", refusal)
        files.remove(tmp_path / "b")
        (tmp_path / "d" / "e").mkdir(parents=True)
        refuse_once(monkeypatch, files.os, "replace", refusal)
        refuse_once(monkeypatch, files.os, "rmdir", refused(145, OSError))
        files.remove_tree(tmp_path / "d")
    assert listing(tmp_path) == {"a": path.read_bytes(), "c": b"new"}


def test_removing_what_is_not_there_is_fine_and_reading_it_is_not(tmp_path):
    files.remove(tmp_path / "a")
    files.remove_tree(tmp_path / "a")
    files.sweep(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "a", tmp_path / "b")


@pytest.mark.usefixtures("like_windows")
def test_what_is_read_only_is_written_replaced_and_removed(tmp_path):
    def read_only(name):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"old")
        path.chmod(FILE_READ_ONLY)
        return path

    with pytest.raises(PermissionError):  # or this test would say nothing
        os.unlink(read_only("a"))
    atomic_write_bytes(tmp_path / "a", b"new")
    files.append_text(read_only("b"), "er")
    with system.exclusive(read_only("c")) as held:
        assert held
    files.copy(read_only("d"), tmp_path / "e")
    files.append_text(tmp_path / "e", "er")
    files.remove(tmp_path / "d")
    read_only("tree/f").parent.chmod(FOLDER_READ_ONLY)
    files.remove_tree(tmp_path / "tree")
    assert listing(tmp_path) == {"a": b"new", "b": b"older", "c": b"old", "e": b"older"}


@pytest.mark.usefixtures("like_windows")
def test_what_is_read_only_stays_so_where_nothing_comes_of_it(tmp_path, monkeypatch):
    """An artist's file that is read, and any file that somebody holds."""
    path, folder = tmp_path / "a", tmp_path / "f"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c").touch()
    for part in (path, folder / "b" / "c"):
        part.write_bytes(b"old")
        part.chmod(FILE_READ_ONLY)
    (folder / "b").chmod(FOLDER_READ_ONLY)
    before = [part.stat().st_mode for part in (path, folder / "b", folder / "b" / "c")]
    held = [refused(IN_USE) for _ in range(4)]
    refuse_once(monkeypatch, files, "open", *held)
    with pytest.raises(PermissionError):
        files.read_bytes(path, patience_s=0)
    assert files.read_bytes(path) == b"old"
    for name in ("replace", "unlink"):
        refuse_once(monkeypatch, files.os, name, *held)
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "new", path, patience_s=0)
    with pytest.raises(PermissionError):
        files.remove(path, patience_s=0)
    assert not files.remove_what_can_be(folder)
    assert before == [part.stat().st_mode for part in (path, folder / "b", folder / "b" / "c")]


@pytest.mark.skipif(os.name == "nt", reason="an open file keeps its folder there: the test below")
def test_a_folder_that_is_read_is_removed_whole(tmp_path):
    folder = tmp_path / ("n" * 200)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x", encoding="utf-8")
    seen, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            if folder.exists() and not (folder / "deep" / "file").exists() and folder.exists():
                seen.append("half a folder")

    thread = threading.Thread(target=look)
    thread.start()
    with (folder / "deep" / "file").open(encoding="utf-8") as reader:
        files.remove_tree(folder)
        assert reader.read() == "x"
    done.set()
    thread.join()
    assert seen == []
    assert list(tmp_path.iterdir()) == []
    files.remove_tree(folder)  # gone already


@pytest.mark.usefixtures("like_windows")
def test_a_folder_that_somebody_reads_stays_whole(tmp_path, monkeypatch):
    """There, a folder with an open file in it keeps its name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"")
    refuse_once(monkeypatch, files.os, "replace", refused(5))
    with pytest.raises(PermissionError):
        files.remove_tree(tmp_path / "a", patience_s=0)
    assert listing(tmp_path / "a") == {"b": b""}


def test_temporary_names_are_short_unique_and_independent_of_the_real_one(tmp_path):
    names = {files.temporary_beside(tmp_path / name).name for name in ("n" * 250, "a", "a")}
    assert len(names) == 3
    assert {len(name) for name in names} == {17}
    assert all(name.startswith(".") and name.endswith(".tmp") for name in names)
    with atomic_path(tmp_path / ("n" * 250)) as temporary:
        temporary.touch()
        assert files.is_temporary(temporary.name)
        assert not files.is_leftover(temporary)


LEFT = (
    ".new-0123abcd.tmp",
    ".old-0123abcd.tmp",
    f".set.json.{'0' * 32}.tmp",  # as version 0.1.0 called them
    ".removed-dog.123456",
    ".tmpAb12Cd",  # safetensors' own
)


@pytest.mark.parametrize("name", LEFT)
def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    (tmp_path / "a.safetensors").touch()
    being_removed = name.startswith((".old-", ".removed-"))
    assert files.is_temporary(name)
    assert files.is_leftover(path) == being_removed
    before = time.time() - files.ABANDONED_S - 60
    os.utime(path, (before, before))
    files.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    "name", ["a.tmp", ".new-project", ".old-photos", ".tmp", ".tmpAb12Cd/", "a.safetensors"]
)
def test_nobody_elses_files_are_swept(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name.endswith("/") else path.touch()
    os.utime(path, (0, 0))
    files.sweep(tmp_path)
    assert path.exists()


def test_a_folder_that_lost_its_name_is_swept_with_all_in_it(tmp_path):
    (tmp_path / LEFT[1] / "deep").mkdir(parents=True)
    (tmp_path / LEFT[1] / "deep" / "file").touch()
    files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_systems_number_in_words_is_its_error(monkeypatch):
    full = 112 if os.name == "nt" else errno.ENOSPC
    assert files.refusal(full, "full", "a").errno == errno.ENOSPC
    monkeypatch.setattr(files, "WINDOWS", True)
    assert files.passes(files.refusal(32, "in use", "a"), True)
    assert not files.passes(files.refusal(112, "full", "a"), True)


def test_one_folder_is_known_however_it_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Windows has no relative path from one drive to another
    folder, other = tmp_path / "Pictures", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    spellings = [folder, str(folder), other / ".." / "Pictures", Path(os.path.relpath(folder))]
    if os.name == "nt":
        spellings += [str(folder).upper(), str(folder).replace("\\", "/"), f"\\\\?\\{folder}"]
    else:
        (tmp_path / "link").symlink_to(folder)
        spellings += [tmp_path / "link"]
    assert all(files.same(folder, spelling) for spelling in spellings)
    assert not files.same(folder, other)
    assert not files.same(folder, tmp_path / "missing")
    assert not files.same(tmp_path / "missing", tmp_path / "missing")


def test_a_drive_that_numbers_no_files_tells_them_apart_by_name(tmp_path, monkeypatch):
    """Some network drives give every file the number 0: all would be one."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.touch()
    stat = os.stat

    def numberless(path, **named):
        state = list(stat(path, **named))
        state[1] = 0
        return os.stat_result(state)

    monkeypatch.setattr(files.os, "stat", numberless)
    assert files.same(paths[0], paths[0])
    assert not files.same(*paths)
