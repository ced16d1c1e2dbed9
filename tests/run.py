"""What ``make test`` runs: the tests without ComfyUI once, then tests/host once per ComfyUI.

One process holds one ComfyUI, so each part is a pytest of its own. Two run side by side, with half
of the cores each: small networks hardly use more. What is marked ``big`` comes after them, alone,
since two of SD1.5's real size would not fit a small machine's memory. What is marked ``newest``
runs in the first ComfyUI only. The checkouts are COMFYUI_PATH (default ~/comfy/ComfyUI) and
COMFYUI_OLD_PATH (default ~/comfy/ComfyUI-0.3.64). ``--weights``, as in ``make test-weights``, runs
what is marked ``weights`` instead: it samples for a quarter of an hour to judge files that seldom
change. Other arguments go to every pytest. Ends with one line a part and one for all, and fails if
any failed.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
HOST = TESTS / "host"
NO_TESTS = 5  # pytest's exit code when a selection such as -k left none
SIDE_BY_SIDE = 2
CORES = os.cpu_count() or 1


class Part(NamedTuple):
    """One pytest: what the output calls it, what it runs, and on which ComfyUI."""

    name: str
    selection: list[str]
    marks: str
    comfyui: Path


class Result(NamedTuple):
    """How a part ended, and what it counted; nothing if it did not start."""

    code: int
    minutes: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main(arguments: list[str]) -> int:
    asked = "weights" if "--weights" in arguments else "not weights"
    arguments = [argument for argument in arguments if argument != "--weights"]
    home, begun = Path.home() / "comfy", time.monotonic()
    new = Path(os.environ.get("COMFYUI_PATH") or home / "ComfyUI")
    old = Path(os.environ.get("COMFYUI_OLD_PATH") or home / "ComfyUI-0.3.64")
    parts = [
        Part("without ComfyUI", [f"--ignore={HOST}", str(TESTS)], asked, new),
        Part(called(new), [str(HOST)], asked, new),
        Part(called(old), [str(HOST)], f"{asked} and not newest", old),
    ]
    small = [part._replace(marks=f"{part.marks} and not big") for part in parts]
    big = [p._replace(name=f"{p.name}, big", marks=f"{p.marks} and big") for p in parts]
    threads = str(max(1, CORES // SIDE_BY_SIDE))
    with ThreadPoolExecutor(SIDE_BY_SIDE) as lanes:
        results = list(lanes.map(lambda part: run_part(part, arguments, threads), small))
    results += [run_part(part, arguments, str(CORES)) for part in big]
    print()
    for part, result in zip([*small, *big], results, strict=True):
        print(f"{part.name}: {result} in {result.minutes:.0f} minutes")
    failed = any(result.code not in (0, NO_TESTS) for result in results)
    counted = (sum(of) for of in zip(*(result[2:] for result in results), strict=True))
    total = Result(int(failed), (time.monotonic() - begun) / 60, *counted)
    print(f"{total.minutes:.0f} minutes in all\n{total}")
    return total.code


def called(comfyui: Path) -> str:
    """What the output calls a checkout."""
    version = comfyui / "comfyui_version.py"
    if not version.is_file():
        return f"no ComfyUI in {comfyui}"
    return f"ComfyUI {version.read_text(encoding='utf-8').split(chr(34))[-2]}"


def run_part(part: Part, arguments: list[str], threads: str) -> Result:
    """Run it to its end. Every line that it prints bears its name."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-m", part.marks]
        with subprocess.Popen(
            [*command, *part.selection, *arguments],
            cwd=TESTS.parent,
            env=os.environ | {"COMFYUI_PATH": str(part.comfyui), "OMP_NUM_THREADS": threads},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(f"[{part.name}] {line}", end="", flush=True)
        return Result(running.returncode, (time.monotonic() - begun) / 60, *counts(report))


def counts(report: Path) -> tuple[int, ...]:
    """Passed, failed and skipped, by pytest's report; none if it wrote none."""
    if not report.is_file():
        return ()
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, skipped, failures, errors = (
        int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")
    )
    return total - skipped - failures - errors, failures + errors, skipped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
