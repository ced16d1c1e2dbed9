"""Who has signed a file is known for certain: another that has the number is nobody."""

import calendar
import os
import subprocess
import sys
import time

import pytest

from helpers.signed import signed
from still_moving.common import signatures

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper():
    with subprocess.Popen(SLEEP) as child:
        yield child
        child.kill()


@pytest.mark.slow
def test_a_process_is_known_by_what_it_has_signed(tmp_path, sleeper):
    held = signed(tmp_path / "pid", sleeper.pid)
    assert not held.wait(0.1)
    held.kill()
    assert held.wait(30)
    sleeper.wait()
    held.kill()  # gone already
    held.close()
    assert signatures.writer_of(tmp_path / "pid") is None


def test_a_process_signs_for_itself_with_its_number_first(tmp_path):
    (tmp_path / "pid").write_text(signatures.signature(), encoding="utf-8")
    number, identity, end = signatures.signature().split("\n")
    assert (int(number), end) == (os.getpid(), "")
    assert identity
    held = signatures.writer_of(tmp_path / "pid")
    assert held is not None
    assert held.identity() == identity
    held.close()


@pytest.mark.slow
def test_who_only_has_the_number_here_is_another(tmp_path, sleeper):
    """In another container, on another machine, after a restart, or since the writer's end."""
    signed(tmp_path / "pid", sleeper.pid).close()
    number, identity = (tmp_path / "pid").read_text(encoding="utf-8").splitlines()
    words = identity.split(" ")
    for i, word in enumerate(words):
        other = " ".join([*words[:i], word + "1", *words[i + 1 :]])
        (tmp_path / "pid").write_text(f"{number}\n{other}\n", encoding="utf-8")
        assert signatures.writer_of(tmp_path / "pid") is None
    assert len(words) >= 2  # of a place and of a time, at least


@pytest.mark.slow
def test_a_number_alone_is_nobodys(tmp_path, sleeper):
    """As versions wrote it that did not sign; damaged; of no process."""
    own = sleeper.pid
    for text in (f"{own}", f"{own}\n", f"{own}\n\n", "", "x\nx\n", "-1\nx\n", f"{9**20}\nx\n"):
        (tmp_path / "pid").write_text(text, encoding="utf-8")
        assert signatures.writer_of(tmp_path / "pid") is None
    assert signatures.writer_of(tmp_path / "nothing") is None


@pytest.mark.slow
def test_a_clock_that_is_set_makes_nobody_another(tmp_path, sleeper, monkeypatch):
    real = time.time
    for step_s in (-86400.0, 60.0, 86400.0):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda step_s=step_s: real() + step_s)
            signed(tmp_path / "pid", sleeper.pid).close()
        os.utime(tmp_path / "pid", (1, 1))
        held = signatures.writer_of(tmp_path / "pid")
        assert held is not None
        held.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it has no ps")
def test_ps_says_when_a_process_began(sleeper):
    begun = time.strptime(signatures.begun(sleeper.pid), "%a %b %d %H:%M:%S %Y")
    assert abs(time.time() - calendar.timegm(begun)) < 300  # the machine's clock may have been set
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(OSError, match="no process"):
        signatures.begun(sleeper.pid)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it keeps a hold")
def test_a_number_is_compared_once_more_before_it_is_ended(sleeper, monkeypatch):
    """Where the system keeps no hold on a process, its number may be another's by now."""
    number = signatures._Number(sleeper.pid)
    with monkeypatch.context() as patched:
        patched.setattr(signatures, "_identity", lambda _pid: "another")
        number.kill()
        assert not number.wait(0.2)
        assert sleeper.poll() is None
    number.kill()
    assert sleeper.wait(30) != 0
