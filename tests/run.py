"""What ``make test`` runs: the tests without ComfyUI once, then tests/host once per ComfyUI.

One process holds one ComfyUI, so each part is a pytest of its own. The checkouts are COMFYUI_PATH
(default ~/comfy/ComfyUI) and COMFYUI_OLD_PATH (default ~/comfy/ComfyUI-0.3.64); arguments go to
every pytest. Ends with one line a part, and fails if any part failed.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TESTS = Path(__file__).resolve().parent
HOST = TESTS / "host"
NO_TESTS = 5  # pytest's exit code when a selection such as -k left none


def main(arguments: list[str]) -> int:
    home = Path.home() / "comfy"
    new = os.environ.get("COMFYUI_PATH") or str(home / "ComfyUI")
    old = os.environ.get("COMFYUI_OLD_PATH") or str(home / "ComfyUI-0.3.64")
    parts = {"without ComfyUI": ([f"--ignore={HOST}", str(TESTS)], new)}
    parts |= {f"in {place}": ([str(HOST)], place) for place in (new, old)}
    lines, failed = [], False
    for name, (selection, comfyui) in parts.items():
        code, line = run_part([*selection, *arguments], comfyui)
        failed |= code not in (0, NO_TESTS)
        here = (Path(comfyui) / "comfy" / "sd.py").is_file()
        lines.append(f"{name}: {line}" + ("" if here else " (no ComfyUI there)"))
    print("\n" + "\n".join(lines))
    return int(failed)


def run_part(arguments: list[str], comfyui: str) -> tuple[int, str]:
    """(pytest's exit code, its counts in words)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        made = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments],
            cwd=TESTS.parent,
            env=os.environ | {"COMFYUI_PATH": comfyui},
        )
        if not report.is_file():
            return made.returncode, "did not start"
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, skipped, failures, errors = (
        int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")
    )
    passed = total - skipped - failures - errors
    bad = f", {failures + errors} FAILED" if failures + errors else ""
    return made.returncode, f"{passed} passed, {skipped} did not run{bad}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
