"""ComfyUI in this process, as its main.py begins. Imports torch no sooner than ComfyUI does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def boot(comfyui: Path, base: Path, options: Sequence[str] = ()) -> None:
    """Import ComfyUI with command line options; once a process.

    base: an empty folder in place of its models, input, output and user folders. Without ``--cpu``
    it is on the card, with DynamicVRAM unless the options exclude that; raises RuntimeError where
    that does not start.
    """
    arguments, sys.argv = sys.argv, ["main.py", *options, "--base-directory", str(base)]
    sys.path.insert(0, str(comfyui))
    importlib.import_module("comfy.options").enable_args_parsing()
    # In this order: comfy/utils.py must not be found as `utils`.
    importlib.import_module("utils.extra_config")
    choices = importlib.import_module("comfy.cli_args")
    dynamic_vram = getattr(choices, "enables_dynamic_vram", bool)()  # 0.3.64 has none
    if "--cpu" not in options and "torch" not in sys.modules:
        importlib.import_module("cuda_malloc")  # chooses PyTorch's allocator, for what comes
    if dynamic_vram:
        _before_torch()
    importlib.import_module("nodes")
    if dynamic_vram:
        _turn_on()
    sys.argv = arguments


def _before_torch() -> None:
    """As main.py without options: other programs' use of the card is asked of its driver."""
    control: Any = importlib.import_module("comfy_aimdo.control")
    try:
        begun = control.init(simple_vram_headroom=None, nvml_pressure=True)
    except TypeError:  # older ones know of neither
        begun = control.init()
    if not begun:
        raise RuntimeError("comfy-aimdo, which DynamicVRAM is made of, does not start here")


def _turn_on() -> None:
    control: Any = importlib.import_module("comfy_aimdo.control")
    management: Any = importlib.import_module("comfy.model_management")
    memory: Any = importlib.import_module("comfy.memory_management")
    patchers: Any = importlib.import_module("comfy.model_patcher")
    devices = management.get_all_torch_devices()
    try:
        begun = control.init_devices([(device.index, 0) for device in devices])
    except TypeError:
        begun = control.init_devices([device.index for device in devices])
    if not begun:
        raise RuntimeError("DynamicVRAM does not start on this card")
    patchers.CoreModelPatcher = patchers.ModelPatcherDynamic
    memory.aimdo_enabled = True
