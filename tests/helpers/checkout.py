"""Where a ComfyUI checkout is, for tests that run parts of it in a process of their own."""

import importlib.util
import os
from pathlib import Path

import pytest


def comfyui() -> Path:
    """A checkout that this Python can import, or a skip with the reason."""
    place = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if not (place / "comfy" / "sd.py").is_file():
        pytest.skip("no ComfyUI found: set COMFYUI_PATH to a checkout")
    for name in ("torchsde", "scipy", "sentencepiece", "comfy_kitchen", "comfy_aimdo"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"ComfyUI's requirement {name} is not installed")
    return place
