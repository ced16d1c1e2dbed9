"""Processes that outlive ours, and what other systems are told; locks: test_job.py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.small import ROOT
from still_moving.common import system


def wait_until(truth) -> None:
    deadline = time.monotonic() + 30
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_process_outlives_the_one_that_started_it(tmp_path):
    """In a session of its own, deaf to our input, its words in the log."""
    log = tmp_path / "lög with space.txt"
    log.write_text("before\n", encoding="utf-8")
    grandchild = (
        "import os, sys, time; print('ü', sys.stdin.read() == '', os.getsid(0) == os.getpid());"
        "print(os.getpid(), file=sys.stderr); time.sleep(600)"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from helpers.pack import load_pack; load_pack()\n"
        "from still_moving.common import system\n"
        "from pathlib import Path\n"
        f"system.spawn([sys.executable, '-c', {grandchild!r}], Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(log)], check=True, timeout=60)
    wait_until(lambda: log.read_text(encoding="utf-8").count("\n") == 3)
    before, report, pid = log.read_text(encoding="utf-8").split("\n")[:3]
    assert (before, report) == ("before", "ü True True")
    os.kill(int(pid), 0)  # still there
    system.kill(int(pid))


def test_windows_is_asked_for_a_process_without_window_or_console():
    assert system.detached(True) == {"creationflags": 0x8 | 0x200 | 0x8000000 | 0x4000}
    assert system.detached(False) == {"start_new_session": True}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there, it is asked for as a flag")
def test_a_spawned_process_lets_everything_else_go_first(tmp_path):
    log = tmp_path / "log"
    code = "import os, time; time.sleep(1); print(os.nice(0))"
    assert system.spawn([sys.executable, "-c", code], log).wait(30) == 0
    assert log.read_text(encoding="utf-8") == "10\n"


@pytest.mark.slow
def test_killing_what_is_gone_is_fine():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    system.kill(child.pid)


@pytest.mark.slow
def test_a_folder_is_shown_by_the_systems_own_program(tmp_path, monkeypatch):
    assert (system.opener("darwin"), system.opener("linux")) == ("open", "xdg-open")
    program = tmp_path / "xdg-open"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{tmp_path}/shown"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "a job; rm -rf"
    folder.mkdir()
    system.open_folder(folder)
    shown = tmp_path / "shown"
    wait_until(lambda: shown.exists() and shown.read_text(encoding="utf-8") == str(folder))


@pytest.mark.slow
def test_this_module_and_the_queue_need_the_standard_library_only():
    """ComfyUI starts without torch's help from here, and without waiting for it."""
    code = (
        "import importlib.util, sys; sys.argv = ['x']\n"
        f"spec = importlib.util.spec_from_file_location('main', {str(ROOT / '__main__.py')!r})\n"
        "main = importlib.util.module_from_spec(spec); spec.loader.exec_module(main)\n"
        "main.load_pack()\n"
        "import still_moving.training.queue.supervisor\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'torch', 'numpy', 'PIL', 'diffusers', 'safetensors', 'comfy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path("/"),
        timeout=60,
        encoding="utf-8",
    )
    assert done.stdout == "[]\n", done.stderr
