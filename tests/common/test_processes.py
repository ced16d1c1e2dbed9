"""Processes that outlive ours: on their own, ended if need be."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.signed import signed
from helpers.small import ROOT
from helpers.under_wine import UNDER_WINE
from still_moving.common import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def wait_until(truth) -> None:
    deadline = time.monotonic() + 30
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_process_outlives_the_one_that_started_it(tmp_path):
    """In a session of its own, deaf to our input, its words in the log."""
    log = tmp_path / "lög with space.txt"
    log.write_text("before\n", encoding="utf-8")
    grandchild = (
        "import os, sys, time; own = os.name == 'nt' or os.getsid(0) == os.getpid()\n"
        "print('ü', sys.stdin.read() == '', own)\n"
        "print(os.getpid(), file=sys.stderr); time.sleep(600)"
    )
    code = (
        f"import sys; sys.path.append({str(ROOT / 'tests')!r})\n"
        "from helpers.pack import load_pack; load_pack()\n"
        "from pathlib import Path; from still_moving.common import processes\n"
        f"processes.spawn([sys.executable, '-c', {grandchild!r}], Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(log)], check=True, timeout=60)
    wait_until(lambda: text(log).count("\n") == 3)
    before, report, pid = text(log).splitlines()
    assert (before, report) == ("before", "ü True True")
    held = signed(tmp_path / "pid", int(pid))
    assert not held.wait(0)  # still there
    held.kill()
    assert held.wait(30)
    held.close()


def test_windows_is_asked_for_a_console_that_nobody_sees():
    """In the first way it leaves a launcher's job object; where that is refused, it stays."""
    flags = [way["creationflags"] for way in processes.detached(True)]
    assert flags == [0x1000000 | 0x8000000 | 0x4000 | 0x200, 0x8000000 | 0x4000 | 0x200]
    assert all(not flag & 0x8 for flag in flags)  # without any, compilers would open windows
    assert processes.detached(False) == [{"start_new_session": True}]


@pytest.mark.slow
@pytest.mark.skipif(UNDER_WINE, reason="Wine calls a folder that is started an invalid handle")
def test_a_way_that_is_refused_gives_way_to_the_next(tmp_path):
    refused = {"executable": str(tmp_path)}  # a folder: PermissionError on every system
    with (tmp_path / "log").open("ab") as log:
        child = processes._first_allowed([sys.executable, "-c", "exit(3)"], log, [refused, {}])
        assert child.wait(30) == 3
        with pytest.raises(PermissionError):
            processes._first_allowed([sys.executable, "-c", ""], log, [refused])


@pytest.mark.slow
def test_the_log_is_utf_8_and_at_once_where_the_environment_counts_for_nothing(tmp_path):
    """-I is what the ._pth file of ComfyUI's portable build makes of Python."""
    log = tmp_path / "log"
    code = "import sys; print('ü', sys.flags.utf8_mode, sys.stdout.write_through)"
    processes.spawn([sys.executable, *processes.PYTHON_FLAGS, "-I", "-c", code], log).wait(30)
    assert text(log).splitlines() == ["ü 1 True"]


@pytest.mark.slow
def test_a_log_encoding_that_an_artist_has_set_is_not_the_logs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    log = tmp_path / "log"
    code = "print('ü', chr(0x4E2D))"
    processes.spawn([sys.executable, *processes.PYTHON_FLAGS, "-c", code], log).wait(30)
    assert text(log).splitlines() == ["ü 中"]


@pytest.mark.slow
def test_a_port_of_ours_is_not_kept_by_what_we_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        port = server.getsockname()[1]
        child = processes.spawn(SLEEP, tmp_path / "log")
    try:
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_what_others_add_to_a_log_stays(tmp_path):
    log = tmp_path / "log"
    code = "import sys; print(1); [p for p in iter(lambda: __import__('os').path.exists(%r), True)]"
    code = (code % str(tmp_path / "go")) + "; print(3)"
    child = processes.spawn([sys.executable, *processes.PYTHON_FLAGS, "-c", code], log)
    wait_until(lambda: text(log) != "")
    with log.open("a", encoding="utf-8") as file:
        file.write("2, and much more\n")
    (tmp_path / "go").touch()
    child.wait(30)
    assert text(log).splitlines() == ["1", "2, and much more", "3"]


@pytest.mark.slow
def test_a_log_can_be_removed_while_it_is_written(tmp_path):
    log = tmp_path / "log"
    child = processes.spawn(SLEEP, log)
    log.unlink()
    child.kill()
    child.wait()
    assert not log.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there, it is asked for as a flag")
def test_a_spawned_process_lets_everything_else_go_first(tmp_path):
    log = tmp_path / "log"
    code = "import os, time; time.sleep(1); print(os.nice(0))"
    assert processes.spawn([sys.executable, "-c", code], log).wait(30) == 0
    assert text(log) == "10\n"


@pytest.mark.slow
def test_killing_what_is_gone_is_fine():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    processes.kill(child.pid)


@pytest.mark.skipif(os.name != "nt", reason="elsewhere it is not ours to ask")
def test_windows_is_asked_to_stay_awake_and_given_back():
    import ctypes

    state = ctypes.cdll.LoadLibrary("kernel32").SetThreadExecutionState
    continuous = ctypes.c_uint32(0x80000000)
    processes.stay_awake(True)
    assert state(continuous) & 0xFFFFFFFF == 0x80000001
    processes.stay_awake(True)
    processes.stay_awake(False)
    assert state(continuous) & 0xFFFFFFFF == 0x80000000
