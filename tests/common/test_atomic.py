"""Whatever happens while a file is written, a reader finds the old one or the new one."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.like_windows import IN_USE, refuse_once, refused
from helpers.pack import ROOT
from helpers.small_files import listing
from still_moving.common import atomic, files


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_new_content_replaces_the_old_and_leaves_nothing_beside_it(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("atomic")
    atomic.atomic_write_bytes(folder / "a", old)
    assert listing(folder) == {"a": old}
    atomic.atomic_write_bytes(folder / "a", new)
    assert listing(folder) == {"a": new}


def test_text_is_utf8_with_its_own_line_endings(tmp_path):
    atomic.atomic_write_text(tmp_path / "a", "süß\n")
    assert (tmp_path / "a").read_bytes() == "süß\n".encode()


def write_half_and_raise(path, error):
    with atomic.atomic_path(path) as temporary:
        temporary.write_bytes(b"half of it")
        assert temporary.parent == path.parent
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_keeps_the_old_file_and_removes_the_new(tmp_path, error, old):
    path = tmp_path / "a"
    if old is not None:
        path.write_bytes(old)
    before = listing(tmp_path)
    with pytest.raises(error):
        write_half_and_raise(path, error)
    assert listing(tmp_path) == before


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        atomic.atomic_write_bytes(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic.atomic_path(tmp_path / "a"):
        pass
    assert listing(tmp_path) == {}


@pytest.mark.usefixtures("like_windows")
def test_whoever_cannot_wait_does_not(tmp_path, monkeypatch):
    """A virus scanner has the new file: what is held back by it is left to be swept."""
    held = [refused(IN_USE) for _ in range(1000)]
    refuse_once(monkeypatch, files, "open", *held)
    refuse_once(monkeypatch, files.os, "unlink", *held)
    pauses = []
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    with pytest.raises(PermissionError):
        atomic.atomic_write_bytes(tmp_path / "a", b"new", patience_s=0.0)
    assert pauses == []
    assert [files.is_temporary(path.name) for path in tmp_path.iterdir()] == [True]


@pytest.mark.slow
def test_a_process_that_dies_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    code = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from helpers.pack import load_pack\n"
        "load_pack()\n"
        "from still_moving.common import atomic\n"
        "with atomic.atomic_path(sys.argv[2]) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os._exit(9)\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "tests"), str(path)]
    assert subprocess.run(command, check=False).returncode == 9
    assert path.read_bytes() == b"old"
