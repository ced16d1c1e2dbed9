"""The pack, loaded by path under the one name that tests and benchmarks import it by."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load_pack() -> None:
    """``import still_moving`` works from here on, as the pack's own name works in ComfyUI."""
    spec = importlib.util.spec_from_file_location(
        "still_moving", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["still_moving"] = module
    spec.loader.exec_module(module)
