"""Runs a benchmark: ``python benchmarks NAME [options]``.

NAME is a folder here (its run.py) or a module in one, such as ``training.latency``. The pack is
loaded by path, as ComfyUI does, and the benchmark is a part of it.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        names = ", ".join(sorted(path.parent.name for path in HERE.glob("*/run.py")))
        sys.exit(f"usage: python benchmarks NAME [options], with NAME one of {names}")
    # Python put this folder on the path, where `training` and `host` would hide other packages.
    sys.path[0] = str(HERE.parent / "tests")
    importlib.import_module("helpers.pack").load_pack()
    name = sys.argv.pop(1)
    module = name if "." in name else f"{name}.run"
    with importlib.import_module("still_moving.common.output").printing():
        importlib.import_module(f"still_moving.benchmarks.{module}").main()


if __name__ == "__main__":
    main()
