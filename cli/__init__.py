"""The command line: ``python <pack folder> demo | cache | train | export | inspect``.

Each of these is a module whose ``add`` makes its parser, and the parser names what runs it. Nothing
heavy is imported before it is needed, so ``--help`` answers at once.

Runs on the command line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from ..common.errors import UserError
from ..common.output import printing
from ..common.threads import brief_waits
from . import cache, demo, export, inspect, train

OK, USER_ERROR, INTERRUPTED = 0, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A person's mistake is one line, no traceback."""
    # Everything is read from the files that are named; a slip shall fail, not download.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.update(brief_waits(os.environ))  # read when torch is loaded, which no command has
    if break_key := getattr(signal, "SIGBREAK", None):  # Ctrl+Break, which Windows alone has
        signal.signal(break_key, signal.default_int_handler)  # ends a command as Ctrl+C does
    with printing():
        return _run(build_parser().parse_args(arguments))
    return OK  # the reader of our output (head, less) has enough


def _run(options: argparse.Namespace) -> int:
    try:
        return options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="still-moving",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Still-Moving for AnimateDiff: make a customized checkpoint move.",
        epilog=(
            "the way from pictures to an adapter:\n"
            "  1. cache   photos and clips become latents, once\n"
            "  2. train motion    a Motion Adapter, once for a motion module\n"
            "  3. train spatial   a Spatial Adapter, once for a customized checkpoint\n"
            "  4. export  the Spatial Adapter as a LoRA that every tool loads\n"
            "'demo' goes that way on a tiny world that comes with the pack.\n\n"
            "exit codes: 0 done, 1 a crash (see the job's log.txt), 2 a mistake, named on stderr"
        ),
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for module in (demo, cache, train, export, inspect):
        module.add(commands)
    return parser
