"""The files that the shapes world ships: where they are."""

from pathlib import Path

WEIGHTS = Path(__file__).resolve().parent / "weights"
BASE = "shapes_base.safetensors"
MOTION_MODULE = "shapes_motion_module.safetensors"
CUSTOMIZED = "shapes_customized.safetensors"
