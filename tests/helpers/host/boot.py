"""ComfyUI itself in this process, without its server: on the CPU, or on the pretended card."""

import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

COMFYUI = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
NEEDED = ("torchsde", "scipy", "sentencepiece", "comfy_kitchen", "comfy_aimdo", "aiohttp")
NEEDED += ("alembic", "sqlalchemy", "kornia", "comfyui_frontend_package")
_bases: list[tempfile.TemporaryDirectory] = []  # removed when the process ends


def why_not() -> str:
    """The reason why ComfyUI cannot be booted here; empty when it can."""
    if not (COMFYUI / "comfy" / "sd.py").is_file():
        return "no ComfyUI found: set COMFYUI_PATH to a checkout"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"ComfyUI's requirements {missing} are not installed" if missing else ""


def boot(*options: str) -> None:
    """Import it with these options, as its main.py does; once a process.

    Its folders are empty. Without ``--cpu`` it is on the card, with DynamicVRAM unless the options
    exclude that.
    """
    base = tempfile.TemporaryDirectory(prefix="still-moving-host-")
    _bases.append(base)
    before, sys.argv = sys.argv, ["main.py", *options, "--base-directory", base.name]
    sys.path.insert(0, str(COMFYUI))
    importlib.import_module("comfy.options").enable_args_parsing()
    # In this order: comfy/utils.py must not be found as `utils`.
    importlib.import_module("utils.extra_config")
    choices = importlib.import_module("comfy.cli_args")
    if getattr(choices, "enables_dynamic_vram", bool)():  # 0.3.64 has none
        _begin_dynamic_vram()
    importlib.import_module("nodes")
    sys.argv = before


def _begin_dynamic_vram() -> None:
    """What main.py does on NVIDIA cards. Fails where comfy-aimdo cannot begin."""
    control = importlib.import_module("comfy_aimdo.control")
    assert control.init(), "comfy-aimdo does not load"
    management = importlib.import_module("comfy.model_management")
    memory: Any = importlib.import_module("comfy.memory_management")
    patcher: Any = importlib.import_module("comfy.model_patcher")
    devices = [device.index for device in management.get_all_torch_devices()]
    assert control.init_devices(devices), "comfy-aimdo does not find the card"
    patcher.CoreModelPatcher = patcher.ModelPatcherDynamic
    memory.aimdo_enabled = True
