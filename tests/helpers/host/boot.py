"""ComfyUI itself in this process, without its server: on the CPU, or on the pretended card."""

import importlib.util
import os
import tempfile
from pathlib import Path

from still_moving.benchmarks.common import comfyui

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
    """Import the checkout with these options, its folders empty; once a process."""
    base = tempfile.TemporaryDirectory(prefix="still-moving-host-")
    _bases.append(base)
    comfyui.boot(COMFYUI, Path(base.name), options)
