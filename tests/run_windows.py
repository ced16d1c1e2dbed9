"""What ``make test-windows`` runs: the pack on Windows' own Python, under Wine, part by part.

Sets up what is missing (windows/place.py): Wine, embedded Python, wheels, ComfyUI as its portable
build has it, the pack in its custom_nodes. Two lanes of parts run side by side. Ends with one line
a part and one for all, and fails if any failed; where Wine cannot be had it says why and skips.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run import Part, Result, checkouts, report, result_of
from windows.checks import Checks
from windows.place import NoWineError, Place, why_not

from helpers.pack import ROOT, load_pack

MARKS = "not night and not big and not weights and not server and not browser"
PATIENCE_S = 30 * 60  # for a part
PARTS = {
    "files, jobs, queue": ["common", "training/jobs", "training/recipes", "training/queue"],
    "adapters": ["adapters"],
    "worker": ["training/worker"],
    "sets": ["training/sets", "training/text", "training/checks"],
    "commands' tests": ["cli", "demo/test_lanes.py"],
}
LANES = (
    ("files, jobs, queue", "sets", "commands' tests", "command line"),
    ("adapters", "worker", "ComfyUI"),
)
INSTALL, DEMO = "install", "demo"  # the README's two commands; the second only when it is asked for
_SAY = threading.Lock()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=2, help="of ComfyUI and of its worker")
    names = [*(name for lane in LANES for name in lane), DEMO]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    options = parser.parse_args()
    if reason := why_not():
        print(f"make test-windows skipped: {reason}")
        return 0
    begun = time.monotonic()
    place = Place(Path(os.environ.get("STILL_MOVING_WINDOWS") or ROOT / ".windows"), checkouts()[0])
    try:
        place.set_up(lambda line: say("set-up", line))
    except NoWineError as reason:
        print(f"make test-windows skipped: {reason}")
        return 0
    say("set-up", f"{(time.monotonic() - begun) / 60:.1f} minutes, {used(place.root):.1f} GB")
    load_pack()
    try:
        return run_parts(place, options.only or [], options.kills)
    finally:
        place.wine.stop()


def run_parts(place: Place, only: list[str], kills: int) -> int:
    begun = time.monotonic()
    results = {INSTALL: script(place, INSTALL, kills)}
    lanes = [[name for name in lane if not only or name in only] for lane in LANES]
    lanes.append([DEMO] if DEMO in only else [])
    with ThreadPoolExecutor(len(lanes)) as pool:
        for done in pool.map(lambda lane: {n: run_part(place, n, kills) for n in lane}, lanes):
            results |= done
    parts = [Part(name, [], "", Path()) for name in results]
    return report(parts, list(results.values()), time.monotonic() - begun)


def run_part(place: Place, name: str, kills: int) -> Result:
    return tests(place, name) if name in PARTS else script(place, name, kills)


def tests(place: Place, name: str) -> Result:
    """A pytest on Windows' Python, in the pack's folder there."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "report.xml"
        command = [place.python, "-X", "utf8", "-u", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"--junitxml={windows_path(junit)}", "-m", MARKS]
        command += [f"--basetemp=C:\\pytest-{list(PARTS).index(name)}"]  # two run side by side
        command += [f"tests/{selection}" for selection in PARTS[name]]
        try:
            code = place.wine.run(command, place.pack, lambda line: say(name, line), PATIENCE_S)
        except TimeoutError as error:
            say(name, f"FAILED {error}")
            return Result(1, (time.monotonic() - begun) / 60, failed=1)
        return result_of(code, (time.monotonic() - begun) / 60, junit)


def script(place: Place, name: str, kills: int) -> Result:
    """A part that drives programs from here."""
    from windows import commands, portable, readme

    begun, checks = time.monotonic(), Checks(lambda line: say(name, line))
    try:
        if name == INSTALL:
            readme.install(place, checks)
        elif name == DEMO:
            readme.demo(place, checks)
        elif name == "command line":
            commands.run(place, checks)
        elif not (place.comfyui / "main.py").is_file():
            say(name, f"did not run: no ComfyUI in {place.checkout}")
            return Result(0, 0.0, skipped=1)
        else:
            portable.run(place, checks, kills)
    except Exception as error:  # what a check does not hold, such as a ComfyUI that does not start
        checks.failed += 1
        say(name, f"FAILED {type(error).__name__}: {error}")
    minutes = (time.monotonic() - begun) / 60
    return Result(int(bool(checks.failed)), minutes, checks.passed, checks.failed)


def windows_path(path: Path) -> str:
    """What Windows programs call a file of ours: Wine's drive Z: is our root."""
    return "Z:" + str(path.resolve()).replace("/", "\\")


def used(folder: Path) -> float:
    """Gigabytes in a folder."""
    files = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return sum(state.st_size for state in files) / 1e9


def say(name: str, line: str) -> None:
    with _SAY:
        print(f"[{name}] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
