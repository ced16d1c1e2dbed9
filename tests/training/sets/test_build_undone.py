"""A build that ends early leaves the old set and no trace; no build touches what is not its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.set_folders import CountingEncoder, assert_same_set, options, snapshot
from still_moving.common import files
from still_moving.common.errors import UserError
from still_moving.training.sets.build import build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.store import load_set

KILLED_BUILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from helpers.pack import load_pack
load_pack()
from still_moving.training.sets import build, store
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.common import atomic

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

class Dying(ShapesEncoder):
    calls = 0
    def encode_frames(self, frames):
        Dying.calls += 1
        if sys.argv[4] == "encoding" and Dying.calls == 2: die()
        return super().encode_frames(frames)

if sys.argv[4] == "before set.json": store.SetWriter.commit = die
if sys.argv[4] == "while writing set.json":
    write = store.atomic_write_text
    def half(path, text):
        atomic.os.replace = die
        write(path, text)
    store.atomic_write_text = half
options = build.CacheOptions(width=128, height=128, crop="random")
build.build_set(sys.argv[2], sys.argv[3], Dying(), options)
"""


def grow_old(folder: Path) -> None:
    """No writer lives as long as what is half in a folder lies there."""
    before = time.time() - files.ABANDONED_S - 60
    for path in folder.rglob(".*"):
        os.utime(path, (before, before))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("when", ["encoding", "before set.json", "while writing set.json"])
def test_a_killed_build_leaves_the_old_set_and_is_continued(stills, tmp_path, when):
    out = tmp_path / "out"
    old = build_set(stills, out, ShapesEncoder(), options())
    tests = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", KILLED_BUILD, str(tests), str(stills), str(out), when]
    process = subprocess.run(command, capture_output=True, check=False, env=dict(os.environ))
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert_same_set(load_set(out), old)
    grow_old(out)
    counting = CountingEncoder()
    new = build_set(stills, out, counting, options(crop="random"))
    assert counting.frames == (3 if when == "encoding" else 0)
    assert_same_set(
        new, build_set(stills, tmp_path / "fresh", ShapesEncoder(), options(crop="random"))
    )
    assert snapshot(out) == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize("error", [UserError("x", "a", "b", "c"), RuntimeError("out of memory")])
def test_a_build_that_fails_leaves_no_trace(stills, tmp_path, error):
    class Failing(CountingEncoder):
        def encode_frames(self, frames):
            if self.frames == 2:
                raise error
            return super().encode_frames(frames)

    fresh = tmp_path / "deep" / "er"
    with pytest.raises(type(error)):
        build_set(stills, fresh, Failing(), options())
    assert not fresh.parent.exists()
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options(width=64))
    before = snapshot(out)
    with pytest.raises(type(error)):
        build_set(stills, out, Failing(), options())
    assert snapshot(out) == before


def test_latents_that_are_not_finite_are_refused(stills, tmp_path):
    class Broken(CountingEncoder):
        def encode_frames(self, frames):
            return super().encode_frames(frames) * float("nan")

    with pytest.raises(UserError, match="NaN"):
        build_set(stills, tmp_path / "out", Broken(), options())
    assert not (tmp_path / "out").exists()


def test_out_may_not_be_the_folder_nor_a_file(stills, tmp_path):
    with pytest.raises(UserError, match="another folder"):
        build_set(stills, stills / ".." / "stills", ShapesEncoder(), options())
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot be written"):
            build_set(stills, out, ShapesEncoder(), options())
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_other_files_in_out_are_left_alone(stills, tmp_path):
    out = tmp_path / "out"
    (out / "objects").mkdir(parents=True)
    mine = [out / "notes.md", out / "objects" / "mine.safetensors", out / ".mine.tmp"]
    for path in mine:
        path.write_text("mine", encoding="utf-8")
    build_set(stills, out, ShapesEncoder(), options())
    assert [path.read_text(encoding="utf-8") for path in mine] == ["mine"] * 3


def test_half_files_go_when_nobody_can_be_writing_them(stills, tmp_path):
    out = tmp_path / "out"
    build_set(stills, out, ShapesEncoder(), options())
    before = snapshot(out)
    for name in (".new-0123abcd.tmp", f".set.json.{'0' * 32}.tmp"):
        (out / name).write_bytes(b"half")
    (out / "objects" / f".{'a' * 64}.safetensors.{'0' * 32}.tmp").write_bytes(b"half")
    (out / "objects" / ".tmpAb12Cd").write_bytes(b"half")
    during = snapshot(out)
    build_set(stills, out, ShapesEncoder(), options())
    assert snapshot(out) == during  # another build may be at it
    grow_old(out)
    build_set(stills, out, ShapesEncoder(), options())
    assert snapshot(out) == before
