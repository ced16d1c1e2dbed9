"""Parts of a benchmark: each is made once, whoever makes it, and an interrupted run goes on."""

import argparse
import json
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from still_moving.benchmarks.common import parts
from still_moving.benchmarks.common.estimate import Work
from still_moving.benchmarks.common.results_page import commit

TESTS = Path(__file__).resolve().parents[1]
NAMES = [f"motion: {n}" for n in range(7)]


def options(out: Path, only: str | None = None, so_far: bool = False) -> argparse.Namespace:
    kept = {"only": only, "so_far": so_far, "device": "cpu"}
    return argparse.Namespace(out=out, processes=1, helps=0, **kept)


@pytest.mark.slow
def test_what_is_there_is_not_made_again_and_rows_keep_their_order(tmp_path):
    computed = []

    def part(name):
        computed.append(name)
        return [{"part": name}]

    def broken():
        raise RuntimeError("power cut")

    todo = {name: (lambda name=name: part(name)) for name in NAMES}
    with pytest.raises(RuntimeError, match="power cut"):
        parts.run(options(tmp_path), todo | {NAMES[3]: broken})
    assert computed == NAMES[:3]
    rows, about = parts.run(options(tmp_path), todo)
    assert [row["part"] for row in rows] == computed == NAMES
    assert about["commit"] == commit()


@pytest.mark.slow
def test_a_report_names_the_commits_that_made_its_rows(tmp_path):
    todo = {NAMES[0]: lambda: [{}], NAMES[1]: lambda: [{}]}
    parts.run(options(tmp_path), {NAMES[0]: todo[NAMES[0]]})
    (tmp_path / "commits.txt").write_text("abc1234", encoding="utf-8")
    _, about = parts.run(options(tmp_path), {NAMES[0]: todo[NAMES[0]]})
    assert about["commit"] == "abc1234"  # nothing was made anew
    _, about = parts.run(options(tmp_path), todo)
    assert about["commit"] == f"abc1234, {commit()}"


@pytest.mark.slow
def test_parts_can_be_made_alone_and_reported_before_all_are_there(tmp_path):
    made = []

    def part(name):
        made.append(name)
        return [{"part": name}]

    todo = {name: (lambda name=name: part(name)) for name in NAMES}
    rows, _ = parts.run(options(tmp_path, only="n: 3"), todo)
    assert rows == [{"part": NAMES[3]}]
    rows, _ = parts.run(options(tmp_path, so_far=True), todo)
    assert rows == [{"part": NAMES[3]}]
    assert made == [NAMES[3]]


@pytest.mark.slow
def test_how_long_it_takes_is_said_of_what_is_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        parts.estimate, "seconds", lambda work, *_: 600 * sum(w.clips for w in work)
    )
    todo = {name: lambda: [{}] for name in NAMES[:3]}
    work = {NAMES[0]: Work(clips=1), NAMES[1]: Work(clips=6)}  # the third takes no time
    parts.run(options(tmp_path, only=NAMES[0]), todo, work)
    assert "1 of 1 parts are left: about 10 min on 1 processes" in capsys.readouterr().err
    parts.run(options(tmp_path), todo, work)
    assert "2 of 3 parts are left: about 1 h 0 min" in capsys.readouterr().err
    parts.run(options(tmp_path), todo, work)
    assert "left" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_that_waits_for_another_process_is_made_after_the_rest(tmp_path):
    order = []

    def waiting():
        order.append("asked")
        if len(order) < 3:
            raise parts.Busy
        return [{"part": "waiting"}]

    def other():
        order.append("other")
        return [{"part": "other"}]

    rows, _ = parts.run(options(tmp_path), {"waiting": waiting, "other": other})
    assert order == ["asked", "other", "asked"]
    assert [row["part"] for row in rows] == ["waiting", "other"]


@pytest.mark.slow
def test_nobody_waits_for_one_part_while_another_can_be_made(tmp_path):
    elsewhere, order = ExitStack(), []

    def late():
        order.append("late")
        if len(order) < 2:
            raise parts.Busy
        elsewhere.close()
        return [{}]

    def locked():
        order.append("locked")
        return [{}]

    elsewhere.enter_context(parts.alone(tmp_path / "rows" / "locked.lock"))
    todo = {"locked": locked, "late": late}
    # Whoever waited for the lock would wait for ever, since it is "late" that opens it.
    running = threading.Thread(target=parts.run, args=(options(tmp_path), todo), daemon=True)
    running.start()
    running.join(60)
    assert not running.is_alive()
    assert order == ["late", "late", "locked"]


def test_what_is_locked_elsewhere_is_busy(tmp_path):
    lock = tmp_path / "lock"
    with parts.alone(lock), pytest.raises(parts.Busy), parts.alone(lock, waits=False):
        pass


SCRIPT = f"""
import argparse, importlib, sys, time
from pathlib import Path
sys.path.append({str(TESTS)!r})
importlib.import_module("helpers.pack").load_pack()
parts = importlib.import_module("still_moving.benchmarks.common.parts")
out = Path(sys.argv[1])
helps = int(sys.argv[sys.argv.index("--helps") + 1]) if "--helps" in sys.argv else 0
def part(name):
    with open(out / "made.txt", "a") as log:
        log.write(f"{{helps}} {{name}}\\n")
    time.sleep(0.5)
    return [{{"part": name}}]
todo = {{n: (lambda n=n: part(n)) for n in {NAMES!r}}}
chosen = dict(only=None, so_far=False, device="cpu")
rows, _ = parts.run(argparse.Namespace(out=out, processes=2, helps=helps, **chosen), todo)
print([row["part"] for row in rows])
"""


@pytest.mark.slow
def test_two_processes_make_no_part_twice(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert process.stdout.strip() == str(NAMES)
    lines = (tmp_path / "made.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == NAMES
    files = sorted((tmp_path / "rows").glob("*.json"))
    assert [json.loads(file.read_text(encoding="utf-8")) for file in files] == [
        [{"part": n}] for n in NAMES
    ]
