"""Motions from reference clips: who learns a motion, and what else of the clip comes along.

``python benchmarks motion [--out FOLDER] [--quick]``, or ``make motion-benchmark``. Motions that
the shapes world's network has never seen, learned from a clip or a few by Customize-A-Video, VMC,
NewMove and their ablations, then asked for with other shapes, colours and backgrounds after each of
several lengths of training. The folder gets clips, plots and numbers, docs/results/tables the
tables. What an interrupted run has finished is not done again.
"""

from __future__ import annotations

import json

from ...common.atomic import atomic_write_text
from ..common import parts
from ..common.results_page import TABLES
from . import methods, report
from .bench import Bench


def main() -> None:
    options = parts.options(__doc__, "motion")
    size = methods.QUICK if options.quick else methods.FULL
    bench = Bench(options.out, size, options.device)
    rows, origin = parts.run(options, bench.parts(), bench.work())
    results = report.summarize(rows, size) | origin
    atomic_write_text(options.out / "results.json", json.dumps(results, indent=2))
    report.draw(options.out, rows, results, size)
    if options.docs or not options.quick:
        report.write(options.docs or TABLES / "motion.md", options.out, results)
    print(json.dumps(results))
