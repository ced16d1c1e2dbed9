"""The paper's table 1 and section 4.3 in miniature, against the length of training.

``python benchmarks fidelity [--out FOLDER] [--quick] [--only PART] [--emoji FOLDER]``, or ``make
fidelity``. Two styles and two subjects of the shapes world, each customized from eight stills with
a rare token; or, with ``--emoji``, of the emoji world. Ten prompts each, the same seeds for every
method, after each of several lengths of training. It takes hours, and says beforehand how many;
what an interrupted run has finished is not done again, and a training goes on from its last
checkpoint. The folder gets clips, plots and numbers, docs/results/tables the tables. See
Still-Moving, section 4.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...common.atomic import atomic_write_text
from ...training.checks.device import pick_device
from ..common import parts
from ..common.results_page import TABLES
from . import report
from .bench import Bench
from .emoji import EmojiGround
from .ground import Ground
from .shapes import ShapesGround
from .summary import summarize

EMOJI = {"type": Path, "metavar": "FOLDER", "help": "the emoji world, as `make emoji` fills it"}


def main() -> None:
    options = parts.options(__doc__, "fidelity", {"--emoji": EMOJI})
    device = pick_device(options.device)
    ground: Ground = ShapesGround(device)
    if options.emoji:
        ground = EmojiGround(options.emoji, options.out / "truth.safetensors", device)
    size = ground.quick if options.quick else ground.full
    bench = Bench(options.out, size, ground, device)
    rows, origin = parts.run(
        options, bench.parts(), bench.work(), lambda _device: ground.network(ground.base)
    )
    if options.only:
        print(json.dumps(rows))
        return
    missing = parts.missing(options, bench.parts())
    results = summarize(rows, size, ground) | origin | {"missing": missing}
    atomic_write_text(options.out / "results.json", json.dumps(results, indent=2))
    report.draw(options.out, results, bench)
    if options.docs or not options.quick:
        page = options.docs or TABLES / ("emoji.md" if options.emoji else "fidelity.md")
        report.write(page, options.out, results, ground)
    print(json.dumps(results))
