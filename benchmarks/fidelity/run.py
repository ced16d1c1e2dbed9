"""The paper's table 1 and section 4.3 in miniature, against the length of training.

``python benchmarks fidelity [--out FOLDER] [--quick] [--only PART]``, or ``make fidelity``. Two
styles and two subjects of the shapes world, each customized from eight stills with a rare token;
ten prompts each, the same seeds for every method, after each of several lengths of training. It
takes hours, and says beforehand how many; what an interrupted run has finished is not done again,
and a training goes on from its last checkpoint. The folder gets clips, plots and numbers,
docs/results/tables the tables. See Still-Moving, section 4.
"""

from __future__ import annotations

import json

from ...common.atomic import atomic_write_text
from ...training.checks.device import pick_device
from ..common import parts
from ..common.results_page import TABLES
from . import report
from .bench import Bench
from .shapes import ShapesGround
from .summary import summarize


def main() -> None:
    options = parts.options(__doc__, "fidelity")
    device = pick_device(options.device)
    ground = ShapesGround(device)
    size = ground.quick if options.quick else ground.full
    bench = Bench(options.out, size, ground, device)
    rows, origin = parts.run(options, bench.parts(), bench.work())
    if options.only:
        print(json.dumps(rows))
        return
    missing = parts.missing(options, bench.parts())
    results = summarize(rows, size, ground) | origin | {"missing": missing}
    atomic_write_text(options.out / "results.json", json.dumps(results, indent=2))
    report.draw(options.out, results, bench)
    if options.docs or not options.quick:
        report.write(options.docs or TABLES / "fidelity.md", options.out, results, ground)
    print(json.dumps(results))
