"""What ``make test`` runs: the tests without ComfyUI once, then tests/host once per ComfyUI.

One process holds one ComfyUI, so each part is a pytest of its own. The checkouts are COMFYUI_PATH
(default ~/comfy/ComfyUI) and COMFYUI_OLD_PATH (default ~/comfy/ComfyUI-0.3.64); what is marked
``newest`` runs in the first alone. What is marked ``weights`` is left to ``make test-weights``: it
samples for a quarter of an hour to judge files that seldom change. Arguments go to every pytest;
a ``-m`` among them takes the place of this choice. Ends with one line a part and one for all, and
fails if any part failed.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
HOST = TESTS / "host"
NO_TESTS = 5  # pytest's exit code when a selection such as -k left none


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
    home = Path.home() / "comfy"
    new = Path(os.environ.get("COMFYUI_PATH") or home / "ComfyUI")
    old = Path(os.environ.get("COMFYUI_OLD_PATH") or home / "ComfyUI-0.3.64")
    parts = {
        "without ComfyUI": ([f"--ignore={HOST}", str(TESTS), "-m", "not weights"], new),
        called(new): ([str(HOST), "-m", "not weights"], new),
        called(old): ([str(HOST), "-m", "not weights and not newest"], old),
    }
    results = []
    for name, (selection, comfyui) in parts.items():
        print(f"{name}:", flush=True)
        results.append(run_part([*selection, *arguments], comfyui))
    print()
    for name, result in zip(parts, results, strict=True):
        print(f"{name}: {result} in {result.minutes:.0f} minutes")
    bad = any(result.code not in (0, NO_TESTS) for result in results)
    print(Result(int(bad), *(sum(of) for of in zip(*(r[1:] for r in results), strict=True))))
    return int(bad)


def called(comfyui: Path) -> str:
    """What the output calls a checkout."""
    version = comfyui / "comfyui_version.py"
    if not version.is_file():
        return f"no ComfyUI in {comfyui}"
    return f"ComfyUI {version.read_text(encoding='utf-8').split(chr(34))[-2]} in {comfyui}"


def run_part(arguments: list[str], comfyui: Path) -> Result:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        made = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments],
            cwd=TESTS.parent,
            env=os.environ | {"COMFYUI_PATH": str(comfyui)},
        )
        return Result(made.returncode, (time.monotonic() - begun) / 60, *counts(report))


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
