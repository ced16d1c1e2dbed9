"""The paper's table 1 in miniature: who is true to a customization, and still moves.

``python benchmarks fidelity [--out FOLDER] [--quick]``, or ``make fidelity``. Two styles and
two subjects of the shapes world, each customized from eight stills with a rare token; ten prompts
each, the same seeds for every method. The folder gets clips, plots and numbers, docs/results/tables
the tables. What an interrupted run has finished is not done again. See Still-Moving, section 4.
"""

from __future__ import annotations

import json

from ...common.atomic import atomic_write_text
from ..common import parts
from ..common.results_page import TABLES
from . import methods, report


def main() -> None:
    options = parts.options(__doc__, "fidelity")
    size = methods.QUICK if options.quick else methods.FULL
    bench = methods.Bench(options.out, size, options.device)
    rows, origin = parts.run(options, bench.parts())
    results = report.summarize(rows, size) | origin
    atomic_write_text(options.out / "results.json", json.dumps(results, indent=2))
    report.draw(options.out, results)
    report.clips_side_by_side(options.out, bench)
    if options.docs or not options.quick:
        report.write(options.docs or TABLES / "fidelity.md", options.out, results)
    print(json.dumps(results))
