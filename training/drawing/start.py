"""ComfyUI's code in a process of its own, with the options that it was started with."""

from __future__ import annotations

import importlib
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..sets.plan import Host


def import_comfyui(host: Host) -> None:
    """Import a ComfyUI's modules; once a process. Nothing of it is started.

    Raises UserError where it is gone, or cannot be imported.
    """
    place = Path(host.folder)
    if not (place / "comfy" / "sd.py").is_file():
        raise UserError(
            place, "no ComfyUI", "the one in which Train was pressed",
            "Put it back and resume, or press Train again in the one that you use now.",
        )  # fmt: skip  # folder, found, expected, next move
    sys.path.insert(0, str(place))
    try:
        _choose(json.loads(host.options))  # first: they are read where modules are imported
        # Before what is in comfy/, whose utils.py must not be found as `utils`.
        importlib.import_module("utils.extra_config")
        importlib.import_module("nodes")
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            place, f"a ComfyUI that cannot be imported ({error})", "its requirements installed",
            "Start it, mend what it says, and resume.",
        ) from error  # fmt: skip  # folder, found, expected, next move


def _choose(options: dict[str, Any]) -> None:
    module: Any = importlib.import_module("comfy.cli_args")
    for name, value in options.items():
        default = getattr(module.args, name, None)
        if name == "fast":
            value = {module.PerformanceFeature(feature) for feature in value}
        elif isinstance(default, Enum):
            value = type(default)(value)
        setattr(module.args, name, value)
