"""Motions from reference clips: who learns a motion, and what else of the clip comes along.

``python benchmarks/motion.py [--out FOLDER] [--quick]``, or ``make motion-benchmark``. Motions that
the shapes world's network has never seen, learned from a clip or a few by Customize-A-Video, VMC,
NewMove and their ablations, then asked for with other shapes, colours and backgrounds. The folder
gets clips, plots and numbers, docs/results.md the tables. What an interrupted run has finished is
not done again.
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
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "out" / "motion")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--quick", action="store_true", help="every part, far too short to judge")
    parser.add_argument("--docs", type=Path, help="where the report goes (docs/results.md)")
    options = parser.parse_args()
    sys.path.append(str(ROOT / "tests"))
    importlib.import_module("pack").load_pack()
    import motion_methods as methods
    import motion_report as report

    size = methods.QUICK if options.quick else methods.FULL
    bench = methods.Bench(options.out, size, options.device)
    rows = bench.run()
    found = report.summarize(rows, size)
    found["seconds"] = round(bench.clock.keep())
    (options.out / "results.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    report.draw(options.out, rows, found, size)
    if options.docs or not options.quick:
        report.write(options.docs or ROOT / "docs" / "results.md", options.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
