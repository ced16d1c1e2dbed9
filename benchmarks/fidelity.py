"""The paper's table 1 in miniature: who is true to a customization, and still moves.

``python benchmarks/fidelity.py [--out FOLDER] [--quick]``, or ``make fidelity``. Two styles and
two subjects of the shapes world, each customized from eight stills with a rare token; ten prompts
each, the same seeds for every method. The folder gets clips, plots and numbers, docs/results.md
the tables. What an interrupted run has finished is not done again. See Still-Moving, section 4.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "out" / "fidelity")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--quick", action="store_true", help="every part, far too short to judge")
    parser.add_argument("--docs", type=Path, help="where the report goes (docs/results.md)")
    options = parser.parse_args()
    sys.path.append(str(ROOT / "tests"))
    importlib.import_module("pack").load_pack()
    import fidelity_methods as methods
    import fidelity_report as report

    size = methods.QUICK if options.quick else methods.FULL
    bench = methods.Bench(options.out, size, options.device)
    clips = bench.run()
    sweep = bench.sweep()
    found = report.summarize(clips, sweep, size)
    found["seconds"] = round(bench.clock.keep())
    (options.out / "results.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    report.draw(options.out, found)
    report.clips_side_by_side(options.out, bench)
    if options.docs or not options.quick:
        report.write(options.docs or ROOT / "docs" / "results.md", options.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
