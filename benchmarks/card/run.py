"""What this pack does on an NVIDIA card: correct, fast, in how much memory; JSON, a line at a time.

``python benchmarks card [--out FILE] [--minutes 8]``, or ``make card``. Needs no network. Each part
runs in a process of its own under a limit of its own; a line is printed, and written to FILE, as
soon as it is measured, so that a run cut off keeps what it has. ``make card-bundle`` puts beside
the tree what a bare machine lacks. ``--dry`` runs every part at a small size. ``--docs LINES``
measures nothing, and writes a page of the lines of an earlier run.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from . import bundle, report
from .parts import BENCHMARKS, Part, Places, dry_parts, full_parts, truth

HOME = Path.home() / "comfy"
MARK = "STILL_MOVING_CARD_PART"  # the variable that a part's processes are known by
LOOK_S, MACHINE_S = 0.5, 90
TAIL = 12  # lines of what a part said before it failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a file that each line is added to as well")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--only", nargs="*", default=[""], help="parts with this in their names")
    parser.add_argument("--skip", nargs="*", default=[], help="parts without this in them")
    parser.add_argument("--dry", action="store_true", help="every part at a small size")
    parser.add_argument("--docs", type=Path, help="lines of an earlier run, to write a page of")
    options = parser.parse_args()
    if options.docs:
        report.write_page(options.docs.read_text(encoding="utf-8").splitlines())
        return
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(options.out, time.monotonic() + 60 * options.minutes)
        kit.say(part="machine", **machine(options.dry))
        places = find_places(Path(folder))
        parts = dry_parts(places) if options.dry else full_parts(places)
        chosen = [p for p in parts if any(word in p.name for word in options.only)]
        chosen = [p for p in chosen if not any(word in p.name for word in options.skip)]
        if any(p.name.startswith("graphs") for p in chosen) and not places.truth.is_file():
            kit.measure(truth(places))
        for part in chosen:
            kit.measure(part)
        kit.say(part="goals", goals=report.goals(kit.lines))


def machine(dry: bool) -> dict[str, Any]:
    """Of a child, so that this process never holds a part of the card."""
    look = subprocess.run(
        [sys.executable, str(BENCHMARKS), "card.machine", *(["--dry"] if dry else [])],
        capture_output=True, text=True, env=environment(), check=False, timeout=MACHINE_S,
        encoding="utf-8",
    )  # fmt: skip  # what, then how
    if look.returncode:
        sys.exit(f"No card: {last_lines(look.stderr)}")
    return json.loads(look.stdout.splitlines()[-1])


def find_places(folder: Path) -> Places:
    """ComfyUI and what else the parts need, from the bundle or where this machine has it."""
    unpacked = bundle.unpacked()
    comfyui = Path(os.environ.get("COMFYUI_PATH") or HOME / "ComfyUI")
    evolved = Path(os.environ.get("ANIMATEDIFF_PATH") or HOME / "ComfyUI-AnimateDiff-Evolved")
    if unpacked is not None:
        comfyui, evolved = unpacked / "ComfyUI", unpacked / "ComfyUI-AnimateDiff-Evolved"
    if not (comfyui / "nodes.py").is_file():
        sys.exit(f"No ComfyUI in {comfyui}: set COMFYUI_PATH, or bring what make card-bundle makes")
    latents = (unpacked or folder) / bundle.TRUTH
    return Places(comfyui, evolved if evolved.is_dir() else None, latents, folder)


def environment() -> dict[str, str]:
    """Of a child: with the packages that this Python lacks, where a bundle brought them."""
    unpacked = bundle.unpacked()
    own = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    if unpacked is None:
        return own
    paths = [os.environ.get("PYTHONPATH", ""), str(unpacked / "site")]
    return own | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


class Kit:
    """What was measured so far, and how much time is left."""

    def __init__(self, out: Path | None, end: float):
        self.out, self.begun, self.end = out, time.monotonic(), end
        self.lines: list[dict[str, Any]] = []

    def say(self, **line: Any) -> None:
        """Print a line and keep it, on the disk before anything else happens."""
        line = {"at_s": round(time.monotonic() - self.begun, 1), **line}
        self.lines.append(line)
        text = json.dumps(line)
        print(text, flush=True)
        if self.out is not None:
            with self.out.open("a", encoding="utf-8", newline="\n") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())

    def measure(self, part: Part) -> None:
        """Run a part, and say its lines as they come, and how it ended."""
        limit = min(part.limit_s, self.end - time.monotonic())
        if limit <= 5:
            self.say(part=part.name, ended="not begun: no time was left")
            return
        sys.stderr.write(f"{part.name}\n")
        begun, count, mark = time.monotonic(), 0, f"{os.getpid()}.{len(self.lines)}"
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(
                part.command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace",
                env=environment() | {MARK: mark}, start_new_session=True,
                encoding="utf-8",
            )  # fmt: skip  # what, its streams, its surroundings
            try:
                for line in lines_until(process, begun + limit):
                    self.say(part=part.name, **line)
                    count += 1
                code = process.poll()
            finally:
                end_part(process, mark)
            errors.seek(0)
            ended = {0: "done", None: f"ended after its {limit:.0f} s"}.get(code, f"code {code}")
            said = {} if code == 0 else {"stderr": last_lines(errors.read())}
        seconds = round(time.monotonic() - begun, 1)
        self.say(part=part.name, ended=ended, lines=count, seconds=seconds, **said)


def lines_until(process: subprocess.Popen[str], end: float) -> Iterator[dict[str, Any]]:
    """The JSON objects that a process prints, until it closes its output or time is up."""
    arrived: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, arrived), daemon=True).start()
    while time.monotonic() < end:
        ended = process.poll() is not None  # what it started may hold its output open
        try:
            line = arrived.get(timeout=LOOK_S)
        except queue.Empty:
            if ended:
                return
            continue
        if line is None:
            process.wait()
            return
        with suppress(ValueError):  # of other words, or cut in the middle
            if isinstance(read := json.loads(line), dict):
                yield read


def _read(stream: IO[str], arrived: queue.Queue[str | None]) -> None:
    for line in stream:
        arrived.put(line)
    arrived.put(None)


def end_part(process: subprocess.Popen[str], mark: str) -> None:
    """End a part and all that it started.

    Found by their variables: workers leave their parents' session, and outlive a ComfyUI.
    """
    process.kill()
    for other in psutil.process_iter():
        with suppress(psutil.Error):
            if other.environ().get(MARK) == mark:
                other.kill()
    process.wait()


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL:])
