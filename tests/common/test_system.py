"""What other systems are told. Locks: test_job.py; processes: test_processes.py."""

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
@pytest.mark.skipif(os.name == "nt", reason="there, Python itself asks the Explorer")
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
