"""What ``make test``, ``test-fast``, ``test-all`` and ``test-weights`` run, part by part.

One process holds one ComfyUI, so what runs in one is a pytest of its own for each checkout:
COMFYUI_PATH (default ~/comfy/ComfyUI), and COMFYUI_OLD_PATH (default ~/comfy/ComfyUI-0.3.64) for
what is marked ``every_comfyui``. So is what looks at the newest frontend (NEW_FRONTEND, where
``make`` put it), and what runs on the pretended card (helpers/card). As many
parts run side by side as there are cores, up to two; what is marked ``big`` comes after them,
alone, since two of SD1.5's real size would not fit a small machine's memory. Marks and tiers:
CONTRIBUTING.md. Other arguments go to every pytest. Ends with the slowest tests, those that
failed, one line a part and one for all, and fails if any failed.
"""

import argparse
import importlib
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from helpers import card
from helpers.pack import load_pack

TESTS = Path(__file__).resolve().parent
HOST, TRAINING, WORKER = TESTS / "host", TESTS / "training", TESTS / "training" / "worker"
CARD, CARD_HOST, WEB = TESTS / "card", TESTS / "card" / "host", TESTS / "web"
NO_TESTS = 5  # pytest's exit code when a selection such as -k left none
SIDE_BY_SIDE = 2
CORES = os.cpu_count() or 1
SLOWEST = 30
NEW_FRONTEND = "1.58.1"  # of the page's package, beside those that the checkouts ask for
TIERS = {
    "fast": "not slow and not fuzz and not big and not night and not weights",
    "test": "not night and not big and not weights",
    "all": "not big",
    "weights": "weights",
}


class Part(NamedTuple):
    """One pytest, or the pages' tests: its name, what it runs, and on which ComfyUI."""

    name: str
    selection: list[str]
    marks: str
    comfyui: Path
    on_card: bool = False
    frontend: str = ""  # another one than the checkout's own


PAGES = Part("pages", [], "", Path())  # no pytest: Node runs them


class Result(NamedTuple):
    """How a part ended: counts, (seconds, name) of its tests, (name, error) of those that failed.

    Nothing if it crashed.
    """

    code: int
    minutes: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: tuple[tuple[float, str], ...] = ()
    failures: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tier", choices=TIERS, nargs="?", default="test")
    options, arguments = parser.parse_known_args()
    threads = importlib.import_module("still_moving.common.threads")
    begun, environment = time.monotonic(), threads.brief_waits(os.environ)
    if options.tier == "all":  # what passed yesterday is not asked again: new cases in every run
        seed = random.SystemRandom().randrange(2**32)
        environment |= {"HYPOTHESIS_PROFILE": "explore", "STILL_MOVING_SEED": str(seed)}
        print(f"New cases are drawn from STILL_MOVING_SEED={seed}", flush=True)
    share = str(max(1, CORES // SIDE_BY_SIDE))
    small = parts_of(options.tier)
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, CORES)) as lanes:
        results = list(
            lanes.map(
                lambda p: run_part(p, arguments, {**environment, "OMP_NUM_THREADS": share}), small
            )
        )
    big = big_parts() if options.tier == "all" else []
    results += [run_part(p, arguments, {**environment, "OMP_NUM_THREADS": str(CORES)}) for p in big]
    return report([*small, *big], results, time.monotonic() - begun)


def parts_of(tier: str) -> list[Part]:
    """The parts of a tier, those that take long first, so that no core waits in the end."""
    marks = TIERS[tier]
    new, old = checkouts()
    rest = [f"--ignore={folder}" for folder in (HOST, TRAINING, CARD)]
    away = [f"--ignore={WORKER}", f"--ignore={TRAINING / 'queue'}"]
    trainer = [
        Part("jobs and worker", [str(WORKER), str(TRAINING / "queue")], marks, new),
        Part("trainer", [str(TRAINING), *away], marks, new),
    ]
    others = Part("files, demo, commands", [str(TESTS), *rest], marks, new)
    if tier == "fast":
        return [*trainer, others, PAGES]
    on_old = _both(marks, "every_comfyui")
    server, model = "server or browser", "not (server or browser)"
    on_card = [] if tier == "weights" else card_parts(marks, new)
    return [
        Part(f"{called(new)}, server", [str(HOST)], _both(marks, server), new),
        trainer[0],
        *on_card[:1],
        Part(f"{called(old)}, server", [str(HOST)], _both(on_old, server), old),
        Part(
            f"frontend {NEW_FRONTEND}",
            [str(HOST)],
            _both(marks, "browser"),
            new,
            frontend=NEW_FRONTEND,
        ),
        trainer[1],
        Part(called(new), [str(HOST)], _both(marks, model), new),
        *on_card[1:],
        others,
        *([] if tier == "weights" else [PAGES]),
        Part(called(old), [str(HOST)], _both(on_old, model), old),
    ]


def card_parts(marks: str, comfyui: Path) -> list[Part]:
    """The trainer, the kit of make card with its graphs, and ComfyUI in the tests' own process."""
    kit = [str(CARD / "test_graphs.py"), str(CARD / "test_kit.py")]
    rest = [str(CARD), *[f"--ignore={path}" for path in (CARD_HOST, *kit)]]
    return [
        Part("pretended card", rest, marks, comfyui, True),
        Part("pretended card, make card", kit, marks, comfyui, True),
        Part(f"pretended card, {called(comfyui)}", [str(CARD_HOST)], marks, comfyui, True),
    ]


def big_parts() -> list[Part]:
    """What is marked ``big``: without ComfyUI, and in each."""
    new, old = checkouts()
    away = [f"--ignore={folder}" for folder in (HOST, CARD)]
    return [
        Part("big, without ComfyUI", [*away, str(TESTS)], "big", new),
        Part(f"big, {called(new)}", [str(HOST)], "big", new),
        Part(f"big, {called(old)}", [str(HOST)], "big and every_comfyui", old),
    ]


def checkouts() -> tuple[Path, Path]:
    """(the newest ComfyUI, the oldest one that the pack works with), there or not."""
    home = Path.home() / "comfy"
    new = Path(os.environ.get("COMFYUI_PATH") or home / "ComfyUI")
    return new, Path(os.environ.get("COMFYUI_OLD_PATH") or home / "ComfyUI-0.3.64")


def called(comfyui: Path) -> str:
    """What the output calls a checkout."""
    version = comfyui / "comfyui_version.py"
    if not version.is_file():
        return f"no ComfyUI in {comfyui}"
    return f"ComfyUI {version.read_text(encoding='utf-8').split(chr(34))[-2]}"


def run_part(part: Part, arguments: list[str], environment: dict[str, str]) -> Result:
    """Run it to its end. Every line that it prints bears its name."""
    begun = time.monotonic()
    if part is PAGES and (reason := why_no_pages()):
        tests = [line for file in WEB.glob("*.test.js") for line in file.open(encoding="utf-8")]
        count = sum(line.startswith("test(") for line in tests)
        print(f"[{part.name}] {count} tests did not run: {reason}", flush=True)
        return Result(0, 0.0, skipped=count)
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "report.xml"
        with subprocess.Popen(
            command_of(part, junit, arguments),
            cwd=TESTS.parent,
            env={**os.environ, **environment, **_host(part), **_card(part)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"[{part.name}] {line}", end="", flush=True)
        return result_of(process.returncode, (time.monotonic() - begun) / 60, junit)


def _host(part: Part) -> dict[str, str]:
    """Variables that say what a part runs on."""
    frontend = {"STILL_MOVING_FRONTEND": part.frontend} if part.frontend else {}
    return {"COMFYUI_PATH": str(part.comfyui), **frontend}


def _card(part: Part) -> dict[str, str]:
    """Variables of a part that runs on the card, where there can be one; else its tests say why."""
    return card.environment() if part.on_card and not card.why_not() else {}


def command_of(part: Part, junit: Path, arguments: list[str]) -> list[str]:
    """What runs a part and writes its report."""
    if part is PAGES:
        to = "--test-reporter-destination"
        reporters = [
            "--test-reporter=dot",
            f"{to}=stdout",
            "--test-reporter=junit",
            f"{to}={junit}",
        ]
        files = sorted(str(path.relative_to(TESTS.parent)) for path in WEB.glob("*.test.js"))
        return ["node", "--import", "./tests/web/comfyui/register.js", "--test", *reporters, *files]
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", "-m", part.marks]
    return [*command, *part.selection, *arguments]


def why_no_pages() -> str:
    """Why the pages' tests cannot run here; empty when they can."""
    if (WEB / "node_modules" / ".ready").is_file():
        return ""
    return "Node.js 20 or newer is not installed, or make has not set it up"


def result_of(code: int, minutes: float, junit: Path) -> Result:
    """With the counts and each test's seconds by the report, if there is one."""
    if not junit.is_file():
        return Result(code, minutes)
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    failures = tuple((_name(case), error) for case in cases if (error := _error(case)))
    skipped = sum(case.find("skipped") is not None for case in cases)
    seconds = tuple((float(case.get("time", 0)), _name(case)) for case in cases)
    passed = len(cases) - len(failures) - skipped
    return Result(code, minutes, passed, len(failures), skipped, seconds, failures)


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"


def _error(case: ElementTree.Element) -> str:
    """The first line of what a test failed with; empty for one that did not."""
    found = [case.find(tag) for tag in ("failure", "error")]
    messages = [element.get("message", "") for element in found if element is not None]
    return (messages[0].splitlines() or ["no message"])[0] if messages else ""


def _both(*marks: str) -> str:
    return " and ".join(f"({mark})" for mark in marks if mark)


def report(parts: list[Part], results: list[Result], seconds: float) -> int:
    """Print how it ended; returns the exit code."""
    slowest = sorted((s, n) for result in results for s, n in result.seconds)[-SLOWEST:]
    print(f"\nThe {len(slowest)} slowest:")
    for time_s, name in reversed(slowest):
        print(f"{time_s:7.1f} s  {name}")
    print()
    for part, result in zip(parts, results, strict=True):
        for name, error in result.failures:
            print(f"FAILED on {part.name}: {name}: {error}")
    for part, result in zip(parts, results, strict=True):
        if result.code != NO_TESTS:
            print(f"{part.name}: {result} in {result.minutes:.1f} minutes")
    failed = any(result.code not in (0, NO_TESTS) for result in results)
    total = Result(
        int(failed),
        seconds / 60,
        passed=sum(result.passed for result in results),
        failed=sum(result.failed for result in results),
        skipped=sum(result.skipped for result in results),
    )
    print(f"{total.minutes:.1f} minutes in all\n{total}")
    return total.code


if __name__ == "__main__":
    load_pack()
    with importlib.import_module("still_moving.common.output").printing():
        sys.exit(main())
