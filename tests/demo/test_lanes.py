"""Parts that processes make side by side: in order, with their errors, and to the end of all."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from helpers import lanes as helper
from still_moving.common.errors import UserError
from still_moving.common.system import WINDOWS
from still_moving.demo import lanes

PATIENCE_S = 60
# A shell's background command ignores Ctrl+C, and so would what it starts.
HEARS = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def make(folder, *names, processes=1):
    """Have the helper's processes make parts; returns what was heard."""
    news = []
    parts = helper.chosen(str(folder), *names)
    lanes.make_beside(
        parts,
        helper.SERVE,
        str(folder),
        processes,
        lambda part, share, word: news.append((part.name, share, word)),
    )
    return news


def test_what_a_part_needs_is_made_before_it(tmp_path):
    order = []
    parts = [
        lanes.Part(name, lambda _report: None, 1, needs)
        for name, needs in (("c", ("a", "b")), ("b", ("a",)), ("a", ()), ("d", ()))
    ]
    lanes.make_here(parts, lambda part, share, _word: order.append((part.name, share)))
    assert order == [(name, share) for name in "abcd" for share in (0.0, 1.0)]


@pytest.mark.slow
def test_parts_are_made_at_the_same_time_and_in_order(tmp_path):
    news = make(tmp_path, "late", "left", "right", processes=2)
    assert {path.name for path in tmp_path.iterdir()} == {"late", "left", "right"}
    for name in ("late", "left", "right"):
        own = [(share, word) for part, share, word in news if part == name]
        assert own == [(0.0, ""), (0.5, "half"), (1.0, "")]
    assert news.index(("late", 0.0, "")) > news.index(("left", 1.0, ""))


@pytest.mark.slow
def test_a_mistake_is_told_as_it_would_be_here(tmp_path):
    with pytest.raises(UserError) as caught:
        make(tmp_path, "mistake", "endless", processes=2)
    assert str(caught.value) == "a file: found nothing, expected a picture. Look for it."
    assert_gone(tmp_path)


@pytest.mark.slow
def test_a_crash_comes_with_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match=r"crash: Traceback[^$]*ZeroDivisionError"):
        make(tmp_path, "crash")


@pytest.mark.slow
def test_a_process_that_dies_is_no_hang(tmp_path):
    with pytest.raises(UserError, match="death: found the end of its process, exit code 7"):
        make(tmp_path, "death")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["CTRL_BREAK_EVENT" if WINDOWS else "SIGINT", "SIGTERM", "SIGKILL"])
def test_no_process_outlives_who_began_it(tmp_path, end):
    python, *script = helper.BEGIN
    with subprocess.Popen(
        [python, "-c", HEARS, *script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    ) as parent:
        wait_for(lambda: text(tmp_path / "endless"))
        try:
            parent.send_signal(getattr(signal, end, signal.SIGTERM))
        except OSError as error:  # Windows sends Ctrl+Break through a console
            parent.kill()
            pytest.skip(f"no console to press Ctrl+Break in ({error})")
        parent.communicate(timeout=PATIENCE_S)
    assert_gone(tmp_path)


def assert_gone(folder):
    """That the process of the endless part ends; it may not have come to begin it."""
    number = text(folder / "endless")
    if number and int(number) != os.getpid():
        wait_for(lambda: not psutil.pid_exists(int(number)))


def text(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def wait_for(truth):
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.02)
