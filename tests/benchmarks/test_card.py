"""The kit of ``make card`` without a card: what it keeps, cuts off, concludes and packs."""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from still_moving.benchmarks.card import bundle, parts, report, run

SAYS = """
import json, sys, time
print(json.dumps({"measure": "first"}), flush=True)
print("no JSON", flush=True)
time.sleep(float(sys.argv[1]))
print(json.dumps({"measure": "last"}), flush=True)
sys.exit(int(sys.argv[2]))
"""


def saying(wait_s: float, code: int, limit_s: int = 60) -> parts.Part:
    return parts.Part("a part", limit_s, [sys.executable, "-c", SAYS, str(wait_s), str(code)])


def kit(tmp_path: Path, minutes: float = 5) -> run.Kit:
    return run.Kit(tmp_path / "lines.jsonl", time.monotonic() + 60 * minutes)


def kept(tmp_path: Path) -> list[dict]:
    text = (tmp_path / "lines.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_part_that_takes_too_long_keeps_what_it_measured(tmp_path):
    kit(tmp_path).measure(saying(wait_s=600, code=0, limit_s=6))
    first, end = kept(tmp_path)
    assert first["measure"] == "first"
    assert (end["ended"], end["lines"]) == ("ended after its 6 s", 1)


@pytest.mark.slow
def test_a_part_that_fails_says_how_and_the_next_one_runs(tmp_path):
    session = kit(tmp_path)
    session.measure(parts.Part("broken", 60, [sys.executable, "-c", "raise ValueError('no card')"]))
    session.measure(saying(wait_s=0, code=0))
    broken, *lines, end = kept(tmp_path)
    assert broken["ended"] == "code 1"
    assert "no card" in broken["stderr"]
    assert [line["measure"] for line in lines] == ["first", "last"]
    assert end["ended"] == "done"


LEAVES = """
import json, subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(json.dumps({"child": child.pid}), flush=True)
print('{"cut": ', end="", flush=True)
sys.exit(139)
"""


@pytest.mark.slow
def test_a_part_takes_what_it_started_with_it_and_a_cut_line_harms_no_other(tmp_path):
    session, begun = kit(tmp_path), time.monotonic()
    session.measure(parts.Part("a crash", 60, [sys.executable, "-c", LEAVES]))
    assert time.monotonic() - begun < 30  # the child holds its output open for ten minutes
    line, end = kept(tmp_path)
    assert end["ended"] == "code 139"
    gone = not psutil.pid_exists(line["child"])
    assert gone or psutil.Process(line["child"]).status() == psutil.STATUS_ZOMBIE


def test_without_time_a_part_is_not_begun(tmp_path):
    kit(tmp_path, minutes=0).measure(saying(wait_s=0, code=0))
    (line,) = kept(tmp_path)
    assert line["ended"] == "not begun: no time was left"


def test_no_part_is_longer_than_all_may_take():
    places = parts.Places(Path("c"), Path("a"), Path("t"), Path("f"))
    full = parts.full_parts(places)
    assert all(part.limit_s <= 120 for part in full)
    # A card that is as fast as an H100 is done with what matters before the time is up.
    assert sum(part.limit_s for part in full[:6]) <= 8 * 60
    names = [part.name for part in full]
    assert names[0] == "graphs, dynamic"
    assert len(names) == len(set(names))


def way(kind: str, loop: str, seconds: float, **more) -> dict:
    size = {"size": "full", "tier": "none", "temporal": "any", "fused": True, "compiled": False}
    row = {"kind": kind, "loop": loop, **size, **more}
    return {"part": "training", "way": row, "seconds": seconds, "peak_bytes": 7e9}


def states(lines: list[dict]) -> dict[str, str]:
    return {goal["goal"]: goal["state"] for goal in report.goals(lines)}


def test_goals_follow_from_the_lines():
    machine = {"part": "machine", "tflops": {"bfloat16": 700.0}}
    lines = [machine, way("motion", "plain", 0.9), way("motion", "ours", 0.11)]
    reached = states(lines)
    assert reached["motion: 2.0 times the plain loop"] == "reached"
    assert reached["motion: MFU of 0.45"] == "reached"
    assert reached["motion: 4000 steps in under 8 minutes"] == "reached"
    assert reached["spatial: MFU of 0.45"] == "not measured"
    slow = states([machine, way("motion", "plain", 0.9), way("motion", "ours", 0.5)])
    assert slow["motion: 2.0 times the plain loop"] == "not reached"
    assert slow["motion: MFU of 0.45"] == "not reached"
    assert slow["motion: 4000 steps in under 8 minutes"] == "not reached"


def test_memory_is_asked_of_the_smallest_tier():
    name = "spatial: 16 x 512 x 512 under 8 GB in the smallest tier"
    assert states([way("spatial", "ours", 1.0)])[name] == "not measured"
    assert states([way("spatial", "ours", 1.0, tier="all")])[name] == "reached"
    more = way("spatial", "ours", 1.0, tier="all") | {"peak_bytes": 8.1e9}
    assert states([more])[name] == "not reached"


def test_a_page_has_a_row_for_every_line():
    machine = {
        "part": "machine", "card": "a card", "memory_gib": 80, "capability": "9.0",
        "torch": "2.11", "commit": "abc", "tflops": {"bfloat16": 700.0},
    }  # fmt: skip  # as it is printed
    graphs = {
        "part": "graphs, dynamic", "measure": "graphs", "mode": "dynamic", "weights": "fp16",
        "graphs": 20, "worst": "everything", "worst_off": 0.01, "plain_off": 0.01,
        "beyond": [], "failed": {"windows": "RuntimeError"},
    }  # fmt: skip  # as it is printed
    failed = {"part": "training", "way": way("motion", "ours", 1.0)["way"], "failed": "no kernel"}
    page = report.page([machine, graphs, way("motion", "plain", 0.9), failed])
    assert "| dynamic | fp16 | 20 | everything | 0.01 | 0.01 |  | windows |" in page
    assert "| motion | full | plain |  | 0.9 | 7 |" in page
    assert "failed: no kernel" in page
    assert "| graphs off by more than rounding: 0 | 1 | not reached |" in page


def test_what_is_packed_comes_out_again(tmp_path, monkeypatch):
    source = tmp_path / "source"
    (source / "deep" / ".git").mkdir(parents=True)
    (source / "deep" / "a.py").write_text("a = 1\n", encoding="utf-8")
    (source / "deep" / ".git" / "b").write_text("not this", encoding="utf-8")
    place = tmp_path / "bundle"
    place.mkdir()
    bundle.pack(place / "site.tar.xz", bundle.files_below(source))
    monkeypatch.setattr(bundle, "PLACE", place)
    monkeypatch.setattr(bundle, "UNPACKED", place / "unpacked")
    monkeypatch.setattr(bundle, "find_spec", lambda name: None)
    assert bundle.unpacked() is None  # it is whole when the latents are there
    (place / bundle.TRUTH).write_bytes(b"latents")
    unpacked = bundle.unpacked()
    assert unpacked is not None
    names = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert names == {"site/deep/a.py", bundle.TRUTH}


def test_a_machine_that_has_the_packages_takes_no_bundle(tmp_path, monkeypatch):
    (tmp_path / bundle.TRUTH).write_bytes(b"latents")
    monkeypatch.setattr(bundle, "PLACE", tmp_path)
    assert bundle.unpacked() is None


def test_of_a_package_its_compiled_kernels_alone_are_left_out():
    assert bundle.left_out("comfy_kitchen/backends/cuda/_C.abi3.so")
    assert not bundle.left_out("comfy_kitchen/backends/cuda/__init__.py")
    assert not bundle.left_out("av.libs/libavcodec-d61378e8.so.63.1.102")
