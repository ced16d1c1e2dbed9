"""Runs the command line: ``python <this folder> <command>``, whatever the folder is called."""

import importlib.util
import sys
from pathlib import Path

PACK = "still_moving"  # the name inside this process; the folder's own may hold hyphens


def load_pack() -> None:
    """Load the root package by path, as ComfyUI does, so that relative imports work."""
    root = Path(__file__).resolve().parent
    # Python put this folder on the path, where `nodes` and `tests` would hide other packages.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    spec = importlib.util.spec_from_file_location(
        PACK, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_pack()
    sys.exit(importlib.import_module(f"{PACK}.cli").main())
