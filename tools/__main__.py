"""Runs a maintainer's script: ``python tools NAME [options]``."""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[!_]*.py"))


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"usage: python tools NAME [options], with NAME one of {', '.join(NAMES)}")
    sys.path.insert(1, str(HERE.parent / "tests"))
    importlib.import_module("helpers.pack").load_pack()
    with importlib.import_module("still_moving.common.output").printing():
        sys.exit(importlib.import_module(sys.argv.pop(1)).main())


if __name__ == "__main__":
    main()
